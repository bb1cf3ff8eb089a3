"""The next frame's tokens from past tokens and an action: Genie's dynamics model."""

import keras
from keras import ops

from genie_tf.layers import STTransformer


class Dynamics(keras.Model):
    """A MaskGIT over the tokens of a video, steered by actions (section 2.1).

    Args:
        num_codes: size of the token vocabulary.
        num_patches: tokens of a frame.
        action_dim: width of an action vector.
        transformer: arguments of the `STTransformer`.

    Call arguments:
        tokens: int32 (batch, time, patches).
        actions: (batch, time-1, action_dim), the actions between the frames; they
            are added to the embeddings of the frames they lead to.
        mask: bool (batch, time, patches), true where a token is hidden.

    Returns:
        Logits, float32 (batch, time, patches, num_codes). Those of frame t depend on
        frames 1..t and the actions up to the one that leads there.
    """

    def __init__(
        self,
        num_codes: int,
        num_patches: int,
        action_dim: int,
        transformer: dict,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.num_patches = num_patches
        self.action_dim = action_dim
        policy = {"dtype": self.dtype_policy}
        self.transformer = STTransformer(**transformer, **policy)
        # The last embedding is the mask token; it is no code, so never a target.
        self.token_embedding = keras.layers.Embedding(
            num_codes + 1, self.transformer.dim, **policy
        )
        self.action_embedding = keras.layers.Dense(self.transformer.dim, **policy)
        self.to_logits = keras.layers.Dense(num_codes, **policy)
        self(
            keras.KerasTensor((None, 2, num_patches), "int32"),
            keras.KerasTensor((None, 1, action_dim)),
            keras.KerasTensor((None, 2, num_patches), "bool"),
        )  # builds

    def call(self, tokens, actions, mask):
        embedded = self.embed(tokens, mask)
        # Frame 1 has no action.
        steering = ops.pad(self.action_embedding(actions), [(0, 0), (1, 0), (0, 0)])
        return self.logits(self.transformer(embedded + steering[:, :, None]))

    def embed(self, tokens, mask):
        return self.token_embedding(ops.where(mask, self.num_codes, tokens))

    def logits(self, features):
        return ops.cast(self.to_logits(features), "float32")

    def step(self, tokens, action, mask, cache, position):
        """Logits of one frame over a cached past.

        Args:
            tokens: int32 (batch, patches), the frame at `position`.
            action: (batch, action_dim), the one that leads to this frame; zeros
                embedded as nothing for frame 0, which has none.
            mask: bool (batch, patches).
            cache: of `transformer.empty_cache`, or of the frame before.
            position: scalar integer, 0 for the first frame.

        Returns:
            Logits, float32 (batch, patches, num_codes), and the cache with this
            frame in it: to be kept once the frame's tokens are final.
        """
        steering = self.action_embedding(action)
        steering = ops.where(position > 0, steering, ops.zeros_like(steering))
        features, cache = self.transformer.step(
            (self.embed(tokens, mask) + steering[:, None])[:, None], cache, position
        )
        return self.logits(features)[:, 0], cache

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "num_patches": self.num_patches,
            "action_dim": self.action_dim,
            "transformer": self.transformer.arguments(),
        }


def masked_cross_entropy(tokens, logits, mask):
    """Cross-entropy and accuracy where tokens were masked, and nowhere else.

    Args:
        tokens: int32 (batch, time, patches), the true tokens.
        logits: float32 (batch, time, patches, num_codes).
        mask: bool (batch, time, patches).

    Returns:
        Two scalars: cross-entropy in nats, and the share of top-1 hits.
    """
    weight = ops.cast(mask, "float32")
    weight /= ops.maximum(ops.sum(weight), 1)
    nats = keras.losses.sparse_categorical_crossentropy(tokens, logits, True)
    hits = ops.cast(ops.argmax(logits, axis=-1) == tokens, "float32")
    return ops.sum(nats * weight), ops.sum(hits * weight)
