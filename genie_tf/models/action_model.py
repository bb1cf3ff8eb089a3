"""The contract of latent action models: which action led from one frame to the next."""

from collections.abc import Mapping

from keras import ops

from genie_tf.models.preprocessing import to_unit_range
from genie_tf.models.trainable_model import TrainableModel


class ActionModel(TrainableModel, contract=True):
    """Finds one of a few discrete actions between frames, from the frames only.

    A call takes `video`, (batch, time, height, width, channels), uint8, or float in
    [0, 1], and returns a dict with at least

    - `indices`, the actions, int32 (batch, time-1);
    - `quantized`, their vectors, (batch, time-1, action_dim), with a gradient;
    - `prediction`, frames 2..T as predicted from these and the frames before, float32
      (batch, time-1, height, width, channels).

    Attributes:
        frame_shape: (height, width, channels) of a frame.
        num_actions: how many actions there are.
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
        """Return the vectors of actions: int (...) -> float32 (..., action_dim)."""
        raise NotImplementedError

    def metrics_of(self, video, outputs: Mapping) -> dict:
        """Return a dict of scalars with `loss`, from the outputs of a call on a video."""
        raise NotImplementedError

    def stats_of(self, outputs: Mapping) -> dict:
        """Return what codebooks learn from, of the outputs of a call."""
        return self.quantizer.codebook_stats(outputs) if self.quantizer else {}

    def losses_and_metrics(self, batch):
        outputs = self(batch["video"])
        return self.metrics_of(batch["video"], outputs), self.stats_of(outputs)

    def reconstruct(self, batch):
        """Return a batch's video, frames from the second on as predicted."""
        video = to_unit_range(batch["video"])
        return ops.concatenate([video[:, :1], self(video)["prediction"]], axis=1)
