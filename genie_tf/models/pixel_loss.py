"""The loss of models that make frames from codes."""

from keras import ops

from genie_tf.metrics.image_quality import psnr


def pixel_metrics(name: str, target, made, quantizer_loss) -> dict:
    """Return loss and metrics; loss = mean squared error + the quantizer's own loss.

    Args:
        name: of the mean squared error among the metrics.
        target: float in [0, 1], (batch, time, height, width, channels).
        made: of the same shape.
        quantizer_loss: scalar.
    """
    error = ops.mean((target - made) ** 2)
    return {
        "loss": error + quantizer_loss,
        name: error,
        "quantizer_loss": quantizer_loss,
        "psnr": ops.mean(psnr(target, made)),
    }
