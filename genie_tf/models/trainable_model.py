"""Contract of models that the training loop trains."""

from collections.abc import Mapping

import numpy as np

from genie_tf.layers import code_counts
from genie_tf.metrics.codebook_usage import usage_from_counts
from genie_tf.models.layer_calls import LayerCall, calls_for_each_patch
from genie_tf.presets.model import PresetModel


class TrainableModel(PresetModel, contract=True):
    """Model with a loss: the interface for training loop, engines, plans and curves.

    A call draws no random numbers and changes no weights, so replicas agree with one
    device and resumed runs are exact. Random inputs of training are drawn in
    `training_inputs`, from the seed and the index of the example.

    Subclasses define `losses_and_metrics`, `reconstruct`, and, if they have a codebook,
    `quantizer`.
    """

    quantizer = None

    def training_inputs(
        self, rng: np.random.Generator, clip: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return additional inputs for a clip in training, such as a random mask.

        Args:
            rng: random generator of this clip.
            clip: arrays of a clip, such as `video`, (time, height, width, channels).
        """
        return {}

    def dropout_inputs(
        self, rng: np.random.Generator, clip: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return `dropout`, a key for the calls of training, if the quantizer drops codes.

        Unlike `training_inputs`, it is not for validation.

        Args:
            rng, clip: see `training_inputs`.
        """
        if not getattr(self.quantizer, "dropout", 0):
            return {}
        return {"dropout": rng.integers(2**32, dtype="uint32")}

    def losses_and_metrics(self, batch: Mapping) -> tuple[dict, dict]:
        """Return loss and metrics of a batch of clips.

        Args:
            batch: a dict with `video`, (batch, time, height, width, channels), uint8 or
                float in [0, 1], and batches of `training_inputs`.

        Returns:
            A dict of scalars, each a mean over clips, with `loss` among them; and
            statistics for `update_codebooks` and `codebook_metrics`, with the batch as
            first axis.
        """
        raise NotImplementedError

    def validation_metrics(self, batch: Mapping) -> dict:
        """Return further metrics, a dict of scalars, too slow for every step."""
        return {}

    def reconstruct(self, batch: Mapping):
        """Return the model's version of a batch's video, float32, for display."""
        raise NotImplementedError

    def codebook_metrics(self, codebook_stats: Mapping) -> dict:
        """Return codebook usage of a batch, a dict of scalars."""
        if not self.quantizer:
            return {}
        return usage_from_counts(
            code_counts(codebook_stats["indices"], self.quantizer.num_codes)
        )

    def update_codebooks(self, codebook_stats: Mapping) -> None:
        """Update codebooks from the statistics of a training step, unless frozen."""
        if self.quantizer and self.quantizer.trainable:
            self.quantizer.update(**codebook_stats)

    def layer_calls(self, frames: int) -> list[LayerCall]:
        """Return the layer calls for a clip, for a plan of training.

        By default, each layer is called once, for each patch of each frame.
        """
        return calls_for_each_patch(self.layers, frames, self.num_patches)


def dropout_key(batch: Mapping) -> tuple:
    """Return the arguments that a call gets for `dropout_inputs`: a key or none."""
    return (batch["dropout"],) if "dropout" in batch else ()
