"""The contract of every model that the training loop trains."""

from collections.abc import Mapping

import numpy as np

from genie_tf.layers import code_counts
from genie_tf.metrics.codebook_usage import usage_from_counts
from genie_tf.models.layer_calls import LayerCall, calls_for_each_patch
from genie_tf.presets.model import PresetModel


class TrainableModel(PresetModel, contract=True):
    """A model with a loss: what loop, engines, plans and curves know of it.

    A call draws no random numbers and changes no weights, so replicas agree with one
    device, and a run that resumes is exact. What is random about training is drawn in
    `training_inputs`, from the seed and the number of the example.

    Subclasses define `losses_and_metrics` and `reconstruct`, and `quantizer`, if they
    have a codebook.
    """

    quantizer = None

    def training_inputs(
        self, rng: np.random.Generator, clip: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return what else training needs with a clip, such as a mask, drawn at random.

        Args:
            rng: generator for this clip only.
            clip: arrays of a clip, such as `video`, (time, height, width, channels).
        """
        return {}

    def losses_and_metrics(self, batch: Mapping) -> tuple[dict, dict]:
        """Return loss and metrics of a batch of clips.

        Args:
            batch: a dict with `video`, (batch, time, height, width, channels), uint8 or
                float in [0, 1], and `training_inputs` with the batch in front.

        Returns:
            A dict of scalars, each a mean over clips, with `loss` among them; and
            statistics for `update_codebooks` and `codebook_metrics`, with the batch in
            front.
        """
        raise NotImplementedError

    def reconstruct(self, batch: Mapping):
        """Return a batch's video as the model has it, float32, to look at."""
        raise NotImplementedError

    def codebook_metrics(self, codebook_stats: Mapping) -> dict:
        """Return how much of the codebook a batch uses, a dict of scalars."""
        if not self.quantizer:
            return {}
        return usage_from_counts(
            code_counts(codebook_stats["indices"], self.quantizer.num_codes)
        )

    def update_codebooks(self, codebook_stats: Mapping) -> None:
        """Let codebooks learn from what a training step quantized."""
        if self.quantizer:
            self.quantizer.update(**codebook_stats)

    def layer_calls(self, frames: int) -> list[LayerCall]:
        """Return the calls of layers that a clip needs, for a plan of the training.

        Unless a subclass says otherwise, each layer is called once, for each patch of
        each frame.
        """
        return calls_for_each_patch(self.layers, frames, self.num_patches)
