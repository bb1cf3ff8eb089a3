"""Loss of models that decode frames from codes."""

from keras import ops

from genie_tf.metrics.image_quality import MIN_SSIM_SIDE, psnr, ssim


def pixel_metrics(name: str, target, prediction, quantizer_loss) -> dict:
    """Return loss and metrics; loss = mean squared error + quantizer loss.

    Args:
        name: metric name of the mean squared error.
        target: float in [0, 1], (batch, time, height, width, channels).
        prediction: the same shape.
        quantizer_loss: scalar.
    """
    error = ops.mean((target - prediction) ** 2)
    return {
        "loss": error + quantizer_loss,
        name: error,
        "quantizer_loss": quantizer_loss,
        "psnr": ops.mean(psnr(target, prediction)),
    }


def ssim_metrics(target, prediction) -> dict:
    """Return the mean `ssim` of frames, or nothing if they are too small for it.

    Args:
        target: uint8, or float in [0, 1], (batch, time, height, width, channels).
        prediction: the same shape.
    """
    if min(target.shape[-3:-1]) < MIN_SSIM_SIDE:
        return {}
    return {"ssim": ops.mean(ssim(target, prediction))}
