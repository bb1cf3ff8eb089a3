"""Contract of latent action models, which infer the actions between frames."""

from collections.abc import Mapping

from keras import ops

from genie_tf.models.pixel_loss import ssim_metrics
from genie_tf.models.preprocessing import to_unit_range
from genie_tf.models.trainable_model import TrainableModel, dropout_key


class ActionModel(TrainableModel, contract=True):
    """Model that infers one of a few discrete actions between frames, without labels.

    A call takes `video`, (batch, time, height, width, channels), uint8, or float in
    [0, 1], and returns a dict with at least

    - `indices`, the actions, int32 (batch, time-1);
    - `quantized`, their vectors, (batch, time-1, action_dim), with a gradient;
    - `prediction`, frames 2..T predicted from the actions and earlier frames, float32
      (batch, time-1, height, width, channels).

    Attributes:
        frame_shape: (height, width, channels) of a frame.
        num_actions: number of actions.
        action_dim: width of an action vector.
    """

    part_name = "latent_action_model"

    frame_shape: tuple[int, int, int]
    num_actions: int
    action_dim: int

    def infer_actions(self, video):
        """Return the actions between the frames of a video, int32 (batch, time-1)."""
        raise NotImplementedError

    def action_vectors(self, actions):
        """Return the vectors of integer actions (...), float32 (..., action_dim)."""
        raise NotImplementedError

    def loss_and_metrics(self, video, outputs: Mapping) -> dict:
        """Return a dict of scalars with `loss`, from the outputs for a video."""
        raise NotImplementedError

    def codebook_stats(self, outputs: Mapping) -> dict:
        """Return the arguments of `update_codebooks` from the outputs of a call."""
        return self.quantizer.codebook_stats(outputs) if self.quantizer else {}

    def losses_and_metrics(self, batch):
        outputs = self(batch["video"], *dropout_key(batch))
        metrics = self.loss_and_metrics(batch["video"], outputs)
        return metrics, self.codebook_stats(outputs)

    def reconstruct(self, batch):
        """Return the video of a batch, with predictions in place of frames 2..T."""
        video = to_unit_range(batch["video"])
        return ops.concatenate([video[:, :1], self(video)["prediction"]], axis=1)

    def validation_metrics(self, batch):
        return ssim_metrics(batch["video"][:, 1:], self.reconstruct(batch)[:, 1:])
