"""Contract of dynamics models, which predict the next frame from past and action.

Axes: b batch, t time, n patches.
"""

from collections.abc import Mapping, Sequence

from keras import ops

from genie_tf.metrics.token_prediction import masked_token_scores
from genie_tf.models.tokenizer import Tokenizer
from genie_tf.models.trainable_model import TrainableModel
from genie_tf.sampling_settings import Setting, complete_settings, settings_as_tensors


class Dynamics(TrainableModel, contract=True):
    """Model that predicts the tokens of a video, conditioned on actions.

    It is trained as part of a world model, which calls `loss_and_metrics`.

    A call takes `tokens`, int32 (b, t, n); `actions`, (b, t-1, action_dim), between the
    frames; and a batch, a dict with `training_inputs` and, if `sees_frames`, `decoded`,
    the video as decoded from the tokens. It returns logits, float32 (b, t, n, num_codes),
    or another tree of tensors that `loss_and_metrics`, `token_scores` and `likeliest`
    understand. Logits of frame t depend on frames 1..t and on the actions up to the one
    that leads to frame t.

    In play, frames are sampled one at a time over a cache: call `start`, then
    `add_frame` for each known frame or `sample_frame` for each new one. The cache is an
    immutable tree of tensors, whose first axis is the batch or a multiple of it.

    Attributes:
        num_codes: size of the vocabulary.
        num_patches: patches per frame.
        num_tokens: tokens per frame, one per patch by default.
        action_dim: width of an action vector.
        sees_frames: whether it sees decoded frames next to their tokens.
        sampling_settings: the sampling settings; those of a model can have other
            defaults than those of its class.
    """

    part_name = "dynamics"
    sees_frames = False
    sampling_settings: Sequence[Setting] = ()

    num_codes: int
    num_patches: int
    action_dim: int

    @property
    def num_tokens(self) -> int:
        return self.num_patches

    @classmethod
    def for_world(cls, tokenizer: Tokenizer, action_dim: int, arguments: Mapping):
        """Return an untrained dynamics over a tokenizer's tokens.

        Args:
            tokenizer: the tokenizer.
            action_dim: width of an action vector.
            arguments: further arguments of the class.
        """
        return cls(
            num_codes=tokenizer.num_codes,
            num_patches=tokenizer.num_patches,
            action_dim=action_dim,
            **arguments,
        )

    def start_from(self, codes) -> None:
        """Initialize from a tokenizer's codes, (num_codes, code_dim)."""

    def scored(self, tokens, batch: Mapping):
        """Return a mask of the tokens that the loss counts, bool (b, t, n).

        Args:
            tokens: int32 (b, t, n).
            batch: a dict with `training_inputs`.
        """
        raise NotImplementedError

    def start(self, tokens):
        """Return the cache of a first frame with tokens int32 (b, n)."""
        raise NotImplementedError

    def see_frame(self, frame, tokens, cache):
        """Return the cache after the newest frame was decoded, if `sees_frames`.

        Args:
            frame: float32 (b, height, width, channels), in [0, 1].
            tokens: int32 (b, n), of this frame.
            cache: the cache that has this frame's tokens.
        """
        return cache

    def add_frame(self, tokens, action, cache, position):
        """Return the cache with a known frame added.

        Args:
            tokens: int32 (b, n), the frame at `position`.
            action: (b, action_dim), the action that led to this frame.
            cache: cache of the frames before.
            position: int (b,), position in each video, 1 for the second frame.
        """
        raise NotImplementedError

    def sample_frame(self, action, cache, position, key, sampling, grid):
        """Return a sampled frame, int32 (b, n), and the cache with it.

        Args:
            action: (b, action_dim), the action that leads to this frame.
            cache: cache of the frames before.
            position: int (b,), position of the frame in each video.
            key: uint32 (b,); equal keys give equal frames.
            sampling: a dict of scalar tensors, see `sampling_tensors`.
            grid: (rows, columns) of the tokens of a frame.
        """
        raise NotImplementedError

    def loss_and_metrics(self, tokens, logits, batch: Mapping) -> dict:
        """Return a dict of scalars, each a mean over clips, with `loss` among them."""
        scored = self.scored(tokens, batch)
        scores = masked_token_scores(tokens, logits, scored, top=(1,))
        means = {name: ops.mean(scores[name]) for name in ("cross_entropy", "top1")}
        return {"loss": means["cross_entropy"], **means}

    def token_scores(self, tokens, logits, batch) -> dict:
        """Return the prediction scores of each clip, see `masked_token_scores`."""
        return masked_token_scores(tokens, logits, self.scored(tokens, batch))

    def likeliest(self, tokens, logits, batch):
        """Return the tokens, with the likeliest token wherever the loss counts."""
        return ops.where(
            self.scored(tokens, batch), ops.argmax(logits, axis=-1), tokens
        )

    def complete_sampling(self, given: Mapping | None = None) -> dict:
        """Return all sampling settings, with defaults for missing ones.

        Raises:
            ValueError: if a setting is unknown or a value is out of range.
        """
        return complete_settings(
            self.sampling_settings, given, f"A {type(self).__name__}"
        )

    def sampling_tensors(self, given: Mapping | None = None) -> dict:
        """Return `complete_sampling` as scalars, so one program serves all values."""
        values = self.complete_sampling(given)
        return settings_as_tensors(self.sampling_settings, values)
