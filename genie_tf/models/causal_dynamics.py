"""Autoregressive dynamics model, as a baseline.

Axes: b batch, t time, n patches, p positions in the flat sequence of t * n tokens.
"""

from collections.abc import Callable

import keras
from keras import ops

from genie_tf.layers import STTransformer, check_whole
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.layer_calls import LayerCall
from genie_tf.noise import fold
from genie_tf.samplers.maskgit_sampler import draw
from genie_tf.sampling_settings import TEMPERATURE, TOP_K


@keras.saving.register_keras_serializable("genie_tf")
class CausalDynamics(Dynamics):
    """Dynamics model that predicts each token from all earlier ones, in raster order.

    A token attends to earlier tokens of its frame and to all tokens of past frames.
    Jasmine (Mahajan et al. 2025) calls this baseline "causal". There, the order within
    a frame also applies to past frames, so a patch does not even attend to itself.

    Args:
        num_codes: size of the token vocabulary.
        num_patches: tokens per frame.
        action_dim: width of an action vector.
        transformer: arguments of the `STTransformer`, with `attention` "space_time".
            `window` counts frames: a token attends to the last `window` *
            `num_patches` tokens.

    Raises:
        ValueError: if `attention` is not "space_time".

    Example:

    ```python
    dynamics = CausalDynamics(
        num_codes=64,
        num_patches=16,
        action_dim=8,
        transformer={
            "dim": 32, "num_blocks": 2, "num_heads": 2, "attention": "space_time"
        },
    )
    ```
    """

    layer_classes = {"transformer": lambda _: STTransformer}
    cached_layer = "transformer"
    cached_tokens = 1
    sampling_settings = (TEMPERATURE, TOP_K)

    def __init__(
        self,
        num_codes: int,
        num_patches: int,
        action_dim: int,
        transformer: dict,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, num_patches=num_patches, action_dim=action_dim)
        if transformer.get("attention") != "space_time":
            raise ValueError(
                "The transformer of a CausalDynamics must have `attention` "
                f'"space_time"; received {transformer.get("attention", "st")!r}.'
            )
        self.num_codes = num_codes
        self.num_patches = num_patches
        self.action_dim = action_dim
        self.window = transformer.get("window", 16)
        check_whole(window=self.window)
        policy = {"dtype": self.dtype_policy}
        # The transformer treats each token as a frame.
        window_tokens = self.window * num_patches
        self.transformer = STTransformer(
            **{**transformer, "window": window_tokens}, **policy
        )
        width = self.transformer.dim
        # The last row is the start token.
        self.table = keras.layers.Embedding(num_codes + 1, width, **policy)
        self.patch_position = keras.layers.Embedding(num_patches, width, **policy)
        self.action_embedding = keras.layers.Dense(width, **policy)
        self.to_logits = keras.layers.Dense(num_codes, **policy)
        self.build(None)

    def build(self, input_shape):
        width = self.transformer.dim
        for layer, *shape in (
            (self.table,),
            (self.patch_position,),
            (self.action_embedding, self.action_dim),
            (self.transformer, 1, width),
            (self.to_logits, 1, width),
        ):
            layer.build((None, None, *shape))

    def scored(self, tokens, batch):
        """Return a mask of all tokens except those of the first frame."""
        frame = ops.arange(ops.shape(tokens)[1])
        return ops.broadcast_to(frame[None, :, None] > 0, ops.shape(tokens))

    def call(self, tokens, actions, batch):
        b, t, n = ops.shape(tokens)
        flat = ops.reshape(tokens, (b, t * n))
        before = ops.pad(flat[:, :-1], [(0, 0), (1, 0)], constant_values=self.num_codes)
        # Frame 1 has no action.
        steering = ops.pad(self.action_embedding(actions), [(0, 0), (1, 0), (0, 0)])
        embedded = self.embed(
            before,
            ops.tile(ops.arange(n), [t])[None],
            ops.reshape(ops.tile(steering[:, :, None], (1, 1, n, 1)), (b, t * n, -1)),
        )
        logits = self.logits(self.transformer(embedded[:, :, None]))
        return ops.reshape(logits, (b, t, n, self.num_codes))

    def embed(self, before, patch, steering):
        """Return the inputs of the transformer, (b, p, width).

        Args:
            before: int32 (b, p), the token before each predicted token.
            patch: int32 (1, p), the patch of each predicted token.
            steering: (b, p, width), embedded actions.
        """
        return self.table(before) + self.patch_position(patch) + steering

    def logits(self, features):
        return ops.cast(self.to_logits(features), "float32")

    def start(self, tokens):
        b = ops.shape(tokens)[0]
        cache = {
            "blocks": self.transformer.empty_cache(b, 1),
            "last": ops.full((b,), self.num_codes, "int32"),
        }
        steering = ops.zeros((b, self.transformer.dim), self.compute_dtype)
        known = ops.cast(tokens, "int32")
        return self._add_tokens(known, steering, cache, ops.zeros((b,), "int32"))

    def add_frame(self, tokens, action, cache, position):
        steering = self.action_embedding(action)
        return self._add_tokens(ops.cast(tokens, "int32"), steering, cache, position)

    def sample_frame(self, action, cache, position, key, sampling, grid):
        def sample(i, logits):
            settings = sampling["temperature"], sampling["top_k"]
            return draw(logits, fold(key, i), *settings)[:, 0]

        return self._run(sample, self.action_embedding(action), cache, position)

    def _add_tokens(self, tokens, steering, cache, position):
        def known(i, logits):
            return ops.take(tokens, i, axis=1)

        return self._run(known, steering, cache, position)[1]

    def _run(self, choose: Callable, steering, cache, position):
        """Fill in a frame, token by token.

        Args:
            choose: function that maps the index of a token and its logits, (b, 1,
                num_codes), to the token, int (b,).
            steering: (b, width), the embedded action.
            cache: cache of all earlier tokens.
            position: int (b,), position of the frame.

        Returns:
            The tokens, int32 (b, n), and the cache with them.
        """
        n = self.num_patches

        def body(i, carry):
            tokens, cache = carry
            token_position = position * n + i
            embedded = self.embed(
                cache["last"][:, None], ops.reshape(i, (1, 1)), steering[:, None]
            )
            features, entry = self.transformer.step(
                embedded[:, :, None], cache["blocks"], token_position
            )
            token = ops.cast(choose(i, self.logits(features)[:, 0]), "int32")
            tokens = ops.where(ops.arange(n) == i, token[:, None], tokens)
            blocks = self.transformer.write(cache["blocks"], entry, token_position)
            return tokens, {"blocks": blocks, "last": token}

        tokens = ops.zeros((ops.shape(position)[0], n), "int32")
        return ops.fori_loop(0, n, body, (tokens, cache))

    def layer_calls(self, frames: int):
        n = self.num_patches
        return [
            LayerCall(self.action_embedding, frames - 1, 1, input_gradient=False),
            LayerCall(self.transformer, frames * n, 1),
            LayerCall(self.to_logits, frames, n, is_classifier=True),
        ]

    def arguments(self):
        return {
            "num_codes": self.num_codes,
            "num_patches": self.num_patches,
            "action_dim": self.action_dim,
            "transformer": {**self.transformer.arguments(), "window": self.window},
        }
