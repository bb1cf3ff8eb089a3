"""Genie's latent action model, which infers the action between two frames."""

import math

import keras
from keras import ops

from genie_tf.layers import (
    OwnFirstFrame,
    STTransformer,
    check_choice,
    check_flag,
    check_frame_shape,
    check_whole,
    embedding_for,
    make_quantizer,
    patch_grid,
    patchify,
    quantizer_class,
    unpatchify,
)
from genie_tf.models.action_model import ActionModel
from genie_tf.models.layer_calls import LayerCall
from genie_tf.models.pixel_loss import pixel_metrics
from genie_tf.models.preprocessing import to_unit_range


@keras.saving.register_keras_serializable("genie_tf")
class LatentActionModel(ActionModel):
    """Model that learns discrete actions between frames, from pixels (section 2.1).

    The encoder reads all frames, each with an extra action token. Its output at frame
    t+1, quantized to one of `num_actions` codes, is the action that led there from
    frame t. From frames 1..t and these actions, the decoder predicts frame t+1. Whatever
    the past does not determine must pass through the action.

    By default, the encoder sees each frame and its change, and the decoder predicts a
    change of frame t. The latent action model of the papers (Genie, Jafar, GenieRedux)
    has `sees_change=False` and `predicts="frame"`.

    Args:
        frame_shape: (height, width, channels) of a frame.
        patch_size: side of a patch in pixels.
        num_actions: size of the codebook, |A|.
        action_dim: width of a latent action.
        encoder: arguments of the encoder's `STTransformer`.
        decoder: arguments of the decoder's `STTransformer`; with a window of 1 the
            action must encode all motion, not only changes of motion.
        quantizer: see `make_quantizer`.
        sees_change: whether the encoder sees, next to each patch, its change since the
            frame before.
        predicts: "change", an unbounded change of the last frame; or "frame", the next
            frame through a sigmoid (Genie, appendix C.1); or "linear_frame", the next
            frame from a dense layer, unbounded (GenieRedux).
        action_from: where the encoder's output is read: "position", at a token that is
            only its learned position; "token", at a learned token, as wide as a patch,
            that enters first (Jafar); or "patches", from all patches of the frame
            together (GenieRedux).
        own_first_frame: embed and decode the first frame with its own weights, and embed
            between two layer norms, see `OwnFirstFrame` (GenieRedux).

    If the encoder has an `entry`, that replaces the dense layer before it.

    Call arguments:
        video: (batch, time, height, width, channels), uint8, or float in [0, 1].
        key: see `VectorQuantizer`; only in training.

    Returns:
        A dict: `prediction`, predicted frames 2..T, float32 (batch, time-1, height,
        width, channels); `indices`, the latent actions, int32 (batch, time-1); and the
        other outputs of `VectorQuantizer`.

    Example:

    ```python
    transformer = {"dim": 32, "num_blocks": 2, "num_heads": 2}
    model = LatentActionModel((64, 64, 3), 16, 6, 8, transformer, transformer)
    actions = model.infer_actions(video)  # int32 (batch, time-1)
    ```
    """

    layer_classes = {
        "encoder": lambda _: STTransformer,
        "decoder": lambda _: STTransformer,
        "quantizer": quantizer_class,
    }

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        patch_size: int,
        num_actions: int,
        action_dim: int,
        encoder: dict,
        decoder: dict,
        quantizer: dict | None = None,
        sees_change: bool = True,
        predicts: str = "change",
        action_from: str = "position",
        own_first_frame: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_frame_shape(frame_shape)
        check_whole(patch_size=patch_size)
        check_whole(num_actions=num_actions, action_dim=action_dim)
        check_choice(("change", "frame", "linear_frame"), predicts=predicts)
        check_choice(("position", "token", "patches"), action_from=action_from)
        check_flag(sees_change=sees_change, own_first_frame=own_first_frame)
        self.frame_shape = tuple(frame_shape)
        self.patch_size = patch_size
        self.num_actions = num_actions
        self.action_dim = action_dim
        self.quantizer_arguments = dict(quantizer or {})
        self.sees_change = sees_change
        self.predicts = predicts
        self.action_from = action_from
        self.own_first_frame = own_first_frame
        self.num_patches = math.prod(patch_grid(*self.frame_shape[:2], patch_size))
        policy = {"dtype": self.dtype_policy}
        self.encoder = STTransformer(**encoder, **policy)
        self.decoder = STTransformer(**decoder, **policy)
        self.encoder_embedding = embedding_for(self.encoder, own_first_frame)
        self.to_latents = keras.layers.Dense(action_dim, **policy)
        self.quantizer = make_quantizer(num_actions, action_dim, quantizer)
        self.decoder_embedding = (
            embedding_for(self.decoder, own_first_frame)
            if own_first_frame
            else keras.layers.Dense(self.decoder.dim, **policy)
        )
        self.action_embedding = keras.layers.Dense(self.decoder.dim, **policy)
        pixels = patch_size**2 * self.frame_shape[-1]
        if action_from == "token":
            self.action_token = self.add_weight(
                shape=((1 + sees_change) * pixels,),
                initializer="lecun_uniform",
                name="action_token",
            )
        elif action_from == "patches":
            self.to_action = keras.layers.Dense(self.encoder.dim, **policy)
            self.action_norm = keras.layers.LayerNormalization(
                epsilon=self.encoder.options.norm_epsilon, **policy
            )
        if predicts == "change":
            # Initialized to zero: the untrained prediction is no change.
            self.to_change = keras.layers.Dense(
                pixels, kernel_initializer="zeros", **policy
            )
        else:
            to_pixels = OwnFirstFrame if own_first_frame else keras.layers.Dense
            self.to_pixels = to_pixels(pixels, **policy)
        self.build(None)

    @property
    def head(self) -> keras.layers.Layer:
        """Layer that maps the decoder's features to changes or pixels."""
        return self.to_change if self.predicts == "change" else self.to_pixels

    def build(self, input_shape):
        n, pixels = self.num_patches, self.patch_size**2 * self.frame_shape[-1]
        seen = (1 + self.sees_change) * pixels
        entering = seen if self.encoder.entry else self.encoder.dim
        if self.action_from == "patches":
            self.to_action.build((None, None, n * self.encoder.dim))
            self.action_norm.build((None, None, self.encoder.dim))
        for layer, *shape in (
            (self.encoder_embedding, n, seen),
            (self.encoder, self.num_entering, entering),
            (self.to_latents, self.encoder.dim),
            (self.quantizer, self.action_dim),
            (self.decoder_embedding, n, pixels),
            (self.action_embedding, self.action_dim),
            (self.decoder, n, self.decoder.dim),
            (self.head, n, self.decoder.dim),
        ):
            layer.build((None, None, *shape))

    @property
    def num_entering(self) -> int:
        """Tokens of a frame that enter the encoder: its patches and an action token."""
        return self.num_patches + (self.action_from != "patches")

    def call(self, video, key=None):
        patches = patchify(to_unit_range(video), self.patch_size)
        quantized = self.encode(patches, key)
        return {
            "prediction": self.predict_next(patches[:, :-1], quantized["quantized"]),
            **quantized,
        }

    def encode(self, patches, key=None):
        """Encode patches of frames 1..T as T-1 actions, see `VectorQuantizer`."""
        if self.sees_change:
            previous = ops.concatenate([patches[:, :1], patches[:, :-1]], axis=1)
            # With its change, each patch shows motion in a single token.
            patches = ops.concatenate([patches, patches - previous], axis=-1)
        return self.quantizer(self.to_latents(self._read_actions(patches)), key)

    def _read_actions(self, patches):
        """Return the encoder's outputs about actions, (batch, time-1, dim)."""
        if self.action_from == "token":
            token = ops.cast(self.action_token, patches.dtype)
            token = ops.broadcast_to(token, ops.shape(patches[:, :, :1]))
            patches = ops.concatenate([token, patches], axis=2)
            return self.encoder(self.encoder_embedding(patches))[:, 1:, 0]
        tokens = self.encoder_embedding(patches)
        if self.action_from == "patches":
            features = self.encoder(tokens)[:, 1:]
            b, t = ops.shape(features)[:2]
            flat = ops.reshape(features, (b, t, self.num_patches * self.encoder.dim))
            return self.action_norm(self.to_action(flat))
        # The action token is only its learned position, the last one.
        tokens = ops.pad(tokens, [(0, 0), (0, 0), (0, 1), (0, 0)])
        return self.encoder(tokens)[:, 1:, -1]

    def predict_next(self, patches, actions):
        """Predict frames 2..T from patches of frames 1..T-1 and the actions between.

        Args:
            patches: (batch, time-1, patches, pixels), float in [0, 1].
            actions: (batch, time-1, action_dim).

        Returns:
            float32 (batch, time-1, height, width, channels).
        """
        tokens = self.decoder_embedding(patches)
        tokens += self.action_embedding(actions)[:, :, None]
        output = ops.cast(self.head(self.decoder(tokens)), "float32")
        if self.predicts == "change":
            output = patches + output
        elif self.predicts == "frame":
            output = ops.sigmoid(output)
        return unpatchify(output, self.patch_size, *self.frame_shape[:2])

    def infer_actions(self, video):
        patches = patchify(to_unit_range(video), self.patch_size)
        return self.encode(patches)["indices"]

    def action_vectors(self, actions):
        return self.quantizer.lookup(actions)

    def loss_and_metrics(self, video, outputs):
        target = to_unit_range(video)[:, 1:]
        return pixel_metrics(
            "prediction_loss", target, outputs["prediction"], outputs["loss"]
        )

    def layer_calls(self, frames: int):
        n, actions = self.num_patches, frames - 1
        return [
            LayerCall(self.encoder_embedding, frames, n, input_gradient=False),
            # The action token counts as a patch.
            LayerCall(self.encoder, frames, self.num_entering),
            LayerCall(self.to_latents, actions, 1),
            LayerCall(self.quantizer, actions, 1),
            LayerCall(self.decoder_embedding, actions, n, input_gradient=False),
            LayerCall(self.action_embedding, actions, 1),
            LayerCall(self.decoder, actions, n),
            LayerCall(self.head, actions, n, squared_error=True),
        ]

    def arguments(self):
        return {
            "frame_shape": self.frame_shape,
            "patch_size": self.patch_size,
            "num_actions": self.num_actions,
            "action_dim": self.action_dim,
            "encoder": self.encoder.arguments(),
            "decoder": self.decoder.arguments(),
            "quantizer": self.quantizer_arguments,
            "sees_change": self.sees_change,
            "predicts": self.predicts,
            "action_from": self.action_from,
            "own_first_frame": self.own_first_frame,
        }
