"""The next frame's tokens from past tokens and an action: Genie's dynamics model."""

import keras
from keras import ops

from genie_tf.layers import STTransformer, check_whole
from genie_tf.metrics.token_prediction import masked_token_scores
from genie_tf.models.preset_model import PresetModel

# Logit of the token before, as a unit vector, over one at right angles.
_COPY_SHARPNESS = 16.0

_CONDITIONINGS = ("add", "concat", "token")


@keras.saving.register_keras_serializable("genie_tf")
class Dynamics(PresetModel):
    """A MaskGIT over the tokens of a video, steered by actions (section 2.1).

    Tokens enter as vectors of a small table, and leave by their product with the same
    table, which may start as the tokenizer's codebook: codes that look alike are then
    alike from the first step. A token comes with the one before it in time at its
    place, and its code is predicted as a change of that one's: what stays need not be
    learned.

    Args:
        num_codes: size of the token vocabulary.
        num_patches: tokens of a frame.
        action_dim: width of an action vector.
        transformer: arguments of the `STTransformer`.
        code_dim: width of the table of tokens.
        conditioning: how an action enters the frame it leads to: "add", projected and
            added to the embedding of each patch (Genie); "concat", as it is, beside a
            narrower embedding of each patch (GenieRedux-G); "token", projected, as one
            more token of the frame (Jasmine).

    Call arguments:
        tokens: int32 (batch, time, patches).
        actions: (batch, time-1, action_dim), the actions between the frames.
        mask: bool (batch, time, patches), true where a token is hidden.

    Returns:
        Logits, float32 (batch, time, patches, num_codes). Those of frame t depend on
        frames 1..t and the actions up to the one that leads there.

    Raises:
        ValueError: if there is no such conditioning, or an action leaves no width.
    """

    def __init__(
        self,
        num_codes: int,
        num_patches: int,
        action_dim: int,
        transformer: dict,
        code_dim: int = 32,
        conditioning: str = "add",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, num_patches=num_patches)
        check_whole(action_dim=action_dim, code_dim=code_dim)
        if conditioning not in _CONDITIONINGS:
            raise ValueError(
                f"`conditioning` must be one of {', '.join(_CONDITIONINGS)}; received "
                f"{conditioning!r}."
            )
        self.num_codes = num_codes
        self.num_patches = num_patches
        self.action_dim = action_dim
        self.code_dim = code_dim
        self.conditioning = conditioning
        policy = {"dtype": self.dtype_policy}
        self.transformer = STTransformer(**transformer, **policy)
        width = self.transformer.dim
        if conditioning == "concat":
            width -= action_dim
            if width < 1:
                raise ValueError(
                    f"Beside an action of action_dim={action_dim}, nothing is left of "
                    f"the transformer's dim={self.transformer.dim} for the patches."
                )
        # The last row is the mask token; it is no code, so never a target.
        self.table = keras.layers.Embedding(num_codes + 1, code_dim, **policy)
        self.token_embedding = keras.layers.Dense(width, **policy)
        self.action_embedding = (
            keras.layers.Identity(**policy)
            if conditioning == "concat"
            else keras.layers.Dense(width, **policy)
        )
        # Starts at zero: the first prediction is that nothing changes.
        self.to_change = keras.layers.Dense(
            code_dim, kernel_initializer="zeros", **policy
        )
        self.build(None)

    def build(self, input_shape):
        for layer, *shape in (
            (self.table, self.num_patches),
            (self.token_embedding, self.num_patches, 2 * self.code_dim),
            (self.action_embedding, self.action_dim),
            (self.transformer, self.num_entering, self.transformer.dim),
            (self.to_change, self.num_patches, self.transformer.dim),
        ):
            layer.build((None, None, *shape))

    @property
    def num_entering(self) -> int:
        """Tokens of a frame that enter the transformer."""
        return self.num_patches + (self.conditioning == "token")

    def start_from(self, codebook) -> None:
        """Starts the table of tokens as a codebook, (num_codes, code_dim)."""
        rows = ops.convert_to_numpy(self.table.embeddings).copy()
        rows[: self.num_codes] = codebook
        self.table.embeddings.assign(rows)

    def call(self, tokens, actions, mask):
        hidden = self.hide(tokens, mask)
        # Of what came before a frame nothing is hidden: in play, it is known.
        before = ops.pad(
            tokens[:, :-1], [(0, 0), (1, 0), (0, 0)], constant_values=self.num_codes
        )
        # Frame 1 has no action.
        steering = ops.pad(self.action_embedding(actions), [(0, 0), (1, 0), (0, 0)])
        embedded = self.embed(hidden, before, steering)
        return self.logits(self.transformer(embedded), before)

    def hide(self, tokens, mask):
        """Tokens with the mask token where `mask` is true."""
        return ops.where(mask, self.num_codes, tokens)

    def embed(self, tokens, before, steering):
        """What enters the transformer: patches (batch, time, patches), and an embedded
        action for each frame, (batch, time, width), zero for the first one."""
        patches = self.token_embedding(
            ops.concatenate([self.table(tokens), self.table(before)], axis=-1)
        )
        steering = steering[:, :, None]
        if self.conditioning == "add":
            return patches + steering
        if self.conditioning == "token":
            return ops.concatenate([steering, patches], axis=2)
        steering = ops.broadcast_to(
            steering, (*ops.shape(patches)[:3], self.action_dim)
        )
        return ops.concatenate([patches, steering], axis=-1)

    def logits(self, features, before):
        if self.conditioning == "token":
            features = features[:, :, 1:]
        codes = _COPY_SHARPNESS * self.table(before) + self.to_change(features)
        table = ops.cast(self.table.embeddings[: self.num_codes], "float32")
        return ops.matmul(ops.cast(codes, "float32"), ops.transpose(table))

    def empty_cache(self, batch: int):
        """The cache of no frame, for `step`: of the transformer, and the last tokens."""
        before = ops.full((batch, self.num_patches), self.num_codes, dtype="int32")
        return self.transformer.empty_cache(batch, self.num_entering), before

    def step(self, tokens, action, mask, cache, position):
        """Logits of one frame over a cached past.

        Args:
            tokens: int32 (batch, patches), the frame at `position`.
            action: (batch, action_dim), the one that leads to this frame; left out
                for the first, which has none.
            mask: bool (batch, patches).
            cache: of `empty_cache`, or with the frames before written into it.
            position: int (batch,), of each video, 0 for the first frame.

        Returns:
            Logits, float32 (batch, patches, num_codes); and the frame's entry, for
            `write`.
        """
        cache, before = cache
        hidden = self.hide(tokens, mask)
        steering = self.action_embedding(action)
        steering = ops.where(position[:, None] > 0, steering, 0)
        embedded = self.embed(hidden[:, None], before[:, None], steering[:, None])
        features, entry = self.transformer.step(embedded, cache, position)
        return self.logits(features, before[:, None])[:, 0], (entry, hidden)

    def write(self, cache, entry, position):
        """The cache with a frame in it, of which `step` returned the entry.

        The frame is final: none of its tokens was masked.
        """
        entry, tokens = entry
        return self.transformer.write(cache[0], entry, position), tokens

    def arguments(self):
        """The arguments that make this model what it is, plain numbers and words."""
        return {
            "num_codes": self.num_codes,
            "num_patches": self.num_patches,
            "action_dim": self.action_dim,
            "transformer": self.transformer.arguments(),
            "code_dim": self.code_dim,
            "conditioning": self.conditioning,
        }

    def get_config(self):
        return {**super().get_config(), **self.arguments()}


def masked_cross_entropy(tokens, logits, mask):
    """Cross-entropy and accuracy where tokens were masked, and nowhere else.

    The mean of each clip's own mean, so that a batch in parts is the mean of its parts.

    Args:
        tokens: int32 (batch, time, patches), the true tokens.
        logits: float32 (batch, time, patches, num_codes).
        mask: bool (batch, time, patches).

    Returns:
        Two scalars: cross-entropy in nats, and the share of top-1 hits.
    """
    scores = masked_token_scores(tokens, logits, mask, top=(1,))
    return ops.mean(scores["cross_entropy"]), ops.mean(scores["top1"])
