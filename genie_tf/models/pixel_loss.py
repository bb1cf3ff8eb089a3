"""Loss of models that decode frames from codes."""

from keras import ops

from genie_tf.metrics.image_quality import psnr


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
