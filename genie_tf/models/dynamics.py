"""The contract of dynamics models: the next frame's tokens from the past and an action.

Axes: b batch, t time, n patches.
"""

from collections.abc import Mapping, Sequence

from keras import ops

from genie_tf.metrics.token_prediction import masked_token_scores
from genie_tf.models.tokenizer import Tokenizer
from genie_tf.models.trainable_model import TrainableModel
from genie_tf.sampling_settings import Setting, complete_settings, settings_as_tensors


class Dynamics(TrainableModel, contract=True):
    """Predicts tokens of a video, steered by actions.

    It is trained as part of a world, which calls `loss_and_metrics`.

    It is called with `tokens`, int32 (b, t, n); `actions`, (b, t-1, action_dim), between
    the frames; and a batch, a dict with `training_inputs`. It returns logits, float32
    (b, t, n, num_codes). Those of frame t depend on frames 1..t and on the actions up to
    the one that leads there.

    In play, frames are sampled one at a time over a cache, a tree of tensors with the
    batch (or a multiple of it) in front, never changed: `start`, then `add_frame` for
    each frame that is known, or `sample_frame`.

    Attributes:
        num_codes: size of the vocabulary.
        num_patches: tokens of a frame.
        action_dim: width of an action vector.
        sampling_settings: what can be set about sampling.
    """

    part_name = "dynamics"
    sampling_settings: Sequence[Setting] = ()

    num_codes: int
    num_patches: int
    action_dim: int

    @classmethod
    def for_world(cls, tokenizer: Tokenizer, action_dim: int, arguments: Mapping):
        """Return an untrained dynamics over a tokenizer's tokens.

        Args:
            tokenizer: whose tokens are predicted.
            action_dim: width of an action vector.
            arguments: the other arguments of the class.
        """
        return cls(
            num_codes=tokenizer.num_codes,
            num_patches=tokenizer.num_patches,
            action_dim=action_dim,
            **arguments,
        )

    def start_from(self, codes) -> None:
        """Take over a tokenizer's codes, (num_codes, code_dim), before training."""

    def scored(self, tokens, batch: Mapping):
        """Return which tokens the loss counts, bool (b, t, n).

        Args:
            tokens: int32 (b, t, n).
            batch: a dict with `training_inputs`.
        """
        raise NotImplementedError

    def start(self, tokens):
        """Return the cache of a first frame, of tokens int32 (b, n)."""
        raise NotImplementedError

    def add_frame(self, tokens, action, cache, position):
        """Return the cache with a known frame in it.

        Args:
            tokens: int32 (b, n), the frame at `position`.
            action: (b, action_dim), the one that led to it.
            cache: of the frames before.
            position: int (b,), of each video, 1 for the second frame.
        """
        raise NotImplementedError

    def sample_frame(self, action, cache, position, key, sampling, grid):
        """Return a sampled frame, int32 (b, n), and the cache with it.

        Args:
            action: (b, action_dim), the one that leads to the frame.
            cache: of the frames before.
            position: int (b,), of the frame in each video.
            key: uint32 (b,); equal keys give equal frames.
            sampling: a dict of scalar tensors, see `sampling_tensors`.
            grid: (rows, columns) of the frame.
        """
        raise NotImplementedError

    def loss_and_metrics(self, tokens, logits, batch: Mapping) -> dict:
        """Return a dict of scalars, each a mean over clips, with `loss` among them."""
        scored = self.scored(tokens, batch)
        scores = masked_token_scores(tokens, logits, scored, top=(1,))
        means = {name: ops.mean(scores[name]) for name in ("cross_entropy", "top1")}
        return {"loss": means["cross_entropy"], **means}

    def token_scores(self, tokens, logits, batch) -> dict:
        """Return how well tokens are predicted, see `masked_token_scores`."""
        return masked_token_scores(tokens, logits, self.scored(tokens, batch))

    def likeliest(self, tokens, logits, batch):
        """Return the tokens, with the likeliest in place of those that are scored."""
        return ops.where(
            self.scored(tokens, batch), ops.argmax(logits, axis=-1), tokens
        )

    @classmethod
    def complete_sampling(cls, given: Mapping | None = None) -> dict:
        """Return all settings of sampling, with defaults where none are given.

        Raises:
            ValueError: if there is no such setting, or a value is out of range.
        """
        return complete_settings(cls.sampling_settings, given, f"A {cls.__name__}")

    @classmethod
    def sampling_tensors(cls, given: Mapping | None = None) -> dict:
        """Return the same as scalar tensors, so that a program serves all values."""
        values = cls.complete_sampling(given)
        return settings_as_tensors(cls.sampling_settings, values)
