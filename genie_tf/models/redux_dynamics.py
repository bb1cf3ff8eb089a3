"""GenieRedux's dynamics model, which predicts all tokens of the next frame at once.

Axes: b batch, t time, n patches.
"""

import keras
from keras import ops

from genie_tf.layers import STTransformer, check_choice, check_whole
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.layer_calls import LayerCall
from genie_tf.models.maskgit_dynamics import check_rates, patch_width
from genie_tf.samplers.maskgit_sampler import draw
from genie_tf.sampling_settings import TEMPERATURE, TOP_K, with_defaults

# Share of the gradient that reaches the embedding of tokens (as in CogView).
_GRADIENT_SHARE = 0.1


@keras.saving.register_keras_serializable("genie_tf")
class ReduxDynamics(Dynamics):
    """Dynamics of GenieRedux and GenieRedux-G (Kazemi et al. 2024), as published.

    It differs from Genie's MaskGIT: the output at a frame are the logits of the next
    frame. In training, tokens of past frames are masked, and the loss counts the same
    patches of the frames after. In play, the past is known, so that one step predicts a
    frame.

    A call reads `mask` from the batch, bool (b, t, n), true where a token is masked; the
    last frame is no input.

    Args:
        num_codes: size of the token vocabulary.
        num_patches: tokens per frame.
        action_dim: width of an action vector.
        transformer: arguments of the `STTransformer`.
        max_frames: number of frames with a learned position. In play, later frames have
            the last of them; GenieRedux itself stops there.
        conditioning: how an action enters the frame that it is taken in: "add", projected
            and added to the embedding of each patch (GenieRedux); "concat", unprojected,
            next to a narrower embedding of each patch (GenieRedux-G).
        mask_rates: smallest and largest share of a clip's patches masked in training.
        sampling: default values of sampling settings; see `sampling_settings.py`.

    Raises:
        ValueError: if `conditioning` is unknown, or "concat" leaves patches no width.

    Example:

    ```python
    transformer = {"dim": 32, "num_blocks": 2, "num_heads": 2}
    dynamics = ReduxDynamics(
        num_codes=64, num_patches=16, action_dim=8, transformer=transformer
    )
    ```
    """

    layer_classes = {"transformer": lambda _: STTransformer}
    cached_layer = "transformer"
    sampling_settings = (TEMPERATURE, TOP_K)

    def __init__(
        self,
        num_codes: int,
        num_patches: int,
        action_dim: int,
        transformer: dict,
        max_frames: int = 15,
        conditioning: str = "add",
        mask_rates: tuple[float, float] = (0.5, 1.0),
        sampling: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, num_patches=num_patches)
        check_whole(action_dim=action_dim, max_frames=max_frames)
        check_choice(("add", "concat"), conditioning=conditioning)
        self.mask_rates = check_rates(mask_rates)
        self.num_codes = num_codes
        self.num_patches = num_patches
        self.action_dim = action_dim
        self.max_frames = max_frames
        self.conditioning = conditioning
        self.sampling = dict(sampling or {})
        self.sampling_settings = with_defaults(
            type(self).sampling_settings, self.sampling, "A ReduxDynamics"
        )
        policy = {"dtype": self.dtype_policy}
        self.transformer = STTransformer(**transformer, **policy)
        width = patch_width(conditioning, action_dim, self.transformer.dim)
        self.action_embedding = (
            keras.layers.Identity(**policy)
            if conditioning == "concat"
            else keras.layers.Dense(width, **policy)
        )
        # The last row is the mask token, which is never a target.
        self.table = keras.layers.Embedding(
            num_codes + 1,
            width,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
            **policy,
        )
        self.to_logits = keras.layers.Dense(num_codes, **policy)
        self.build(None)

    def build(self, input_shape):
        n, width = self.num_patches, self.table.output_dim
        self.frame_position = self.add_weight(
            shape=(self.max_frames, n, width),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="frame_position",
        )
        for layer, *shape in (
            (self.table, n),
            (self.action_embedding, self.action_dim),
            (self.transformer, n, self.transformer.dim),
            (self.to_logits, n, self.transformer.dim),
        ):
            layer.build((None, None, *shape))

    def training_inputs(self, rng, clip):
        """Return `mask`, with a rate drawn for each clip."""
        rate = rng.uniform(*self.mask_rates)
        return {"mask": rng.random((len(clip["video"]), self.num_patches)) < rate}

    def scored(self, tokens, batch):
        """Return a mask of the patches that were masked in the frame before."""
        return ops.pad(batch["mask"][:, :-1], [(0, 0), (1, 0), (0, 0)])

    def call(self, tokens, actions, batch):
        hidden = ops.where(batch["mask"], self.num_codes, tokens)[:, :-1]
        frames = ops.arange(ops.shape(hidden)[1])[None]
        features = self.transformer(self.embed(hidden, actions, frames))
        # Nothing predicts the first frame.
        return ops.pad(self.logits(features), [(0, 0), (1, 0), (0, 0), (0, 0)])

    def embed(self, tokens, actions, frames):
        """Return the inputs of the transformer.

        Args:
            tokens: int32 (b, t, n).
            actions: (b, t, action_dim), taken in these frames.
            frames: int (b or 1, t), positions of the frames.
        """
        frames = ops.minimum(frames, self.max_frames - 1)
        patches = self.table(tokens)
        patches += ops.cast(
            ops.take(self.frame_position, frames, axis=0), patches.dtype
        )
        patches = _GRADIENT_SHARE * patches + (1 - _GRADIENT_SHARE) * ops.stop_gradient(
            patches
        )
        steering = ops.cast(self.action_embedding(actions), patches.dtype)[:, :, None]
        if self.conditioning == "add":
            return patches + steering
        shape = (*ops.shape(patches)[:3], self.action_dim)
        return ops.concatenate([patches, ops.broadcast_to(steering, shape)], axis=-1)

    def logits(self, features):
        return ops.cast(self.to_logits(features), "float32")

    def start(self, tokens):
        b = ops.shape(tokens)[0]
        blocks = self.transformer.empty_cache(b, self.num_patches)
        return {"blocks": blocks, "tokens": tokens}

    def add_frame(self, tokens, action, cache, position):
        _, blocks = self._predict(action, cache, position)
        return {"blocks": blocks, "tokens": tokens}

    def sample_frame(self, action, cache, position, key, sampling, grid):
        logits, blocks = self._predict(action, cache, position)
        tokens = draw(logits, key, sampling["temperature"], sampling["top_k"])
        return tokens, {"blocks": blocks, "tokens": tokens}

    def _predict(self, action, cache, position):
        """Return the logits of the next frame, (b, n, num_codes), and the new cache.

        Args:
            action: (b, action_dim), the action taken in the newest frame of the cache.
            cache: the newest frame, and the blocks' cache of the frames before it.
            position: int (b,), position of the next frame.
        """
        newest = position - 1
        embedded = self.embed(
            cache["tokens"][:, None], action[:, None], newest[:, None]
        )
        features, entry = self.transformer.step(embedded, cache["blocks"], newest)
        blocks = self.transformer.write(cache["blocks"], entry, newest)
        return self.logits(features)[:, 0], blocks

    def layer_calls(self, frames: int):
        n, inputs = self.num_patches, frames - 1
        return [
            LayerCall(self.action_embedding, inputs, 1, input_gradient=False),
            LayerCall(self.transformer, inputs, n),
            LayerCall(self.to_logits, inputs, n, is_classifier=True),
        ]

    def arguments(self):
        return {
            "num_codes": self.num_codes,
            "num_patches": self.num_patches,
            "action_dim": self.action_dim,
            "transformer": self.transformer.arguments(),
            "max_frames": self.max_frames,
            "conditioning": self.conditioning,
            "mask_rates": self.mask_rates,
            "sampling": self.sampling,
        }
