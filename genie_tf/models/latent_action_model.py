"""Genie's latent action model, which infers the action between two frames."""

import math

import keras
from keras import ops

from genie_tf.layers import (
    STTransformer,
    check_choice,
    check_flag,
    check_frame_shape,
    check_whole,
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
            frame through a sigmoid (Genie, appendix C.1).

    Call arguments:
        video: (batch, time, height, width, channels), uint8, or float in [0, 1].

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
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_frame_shape(frame_shape)
        check_whole(patch_size=patch_size)
        check_whole(num_actions=num_actions, action_dim=action_dim)
        check_choice(("change", "frame"), predicts=predicts)
        check_flag(sees_change=sees_change)
        self.frame_shape = tuple(frame_shape)
        self.patch_size = patch_size
        self.num_actions = num_actions
        self.action_dim = action_dim
        self.quantizer_arguments = dict(quantizer or {})
        self.sees_change = sees_change
        self.predicts = predicts
        self.num_patches = math.prod(patch_grid(*self.frame_shape[:2], patch_size))
        policy = {"dtype": self.dtype_policy}
        self.encoder = STTransformer(**encoder, **policy)
        self.decoder = STTransformer(**decoder, **policy)
        self.encoder_embedding = keras.layers.Dense(self.encoder.dim, **policy)
        self.to_latents = keras.layers.Dense(action_dim, **policy)
        self.quantizer = make_quantizer(num_actions, action_dim, quantizer)
        self.decoder_embedding = keras.layers.Dense(self.decoder.dim, **policy)
        self.action_embedding = keras.layers.Dense(self.decoder.dim, **policy)
        pixels = patch_size**2 * self.frame_shape[-1]
        if predicts == "change":
            # Initialized to zero: the untrained prediction is no change.
            self.to_change = keras.layers.Dense(
                pixels, kernel_initializer="zeros", **policy
            )
        else:
            self.to_pixels = keras.layers.Dense(pixels, **policy)
        self.build(None)

    @property
    def head(self) -> keras.layers.Dense:
        """Layer that maps the decoder's features to changes or pixels."""
        return self.to_change if self.predicts == "change" else self.to_pixels

    def build(self, input_shape):
        n, pixels = self.num_patches, self.patch_size**2 * self.frame_shape[-1]
        for layer, *shape in (
            (self.encoder_embedding, n, (1 + self.sees_change) * pixels),
            (self.encoder, n + 1, self.encoder.dim),
            (self.to_latents, self.encoder.dim),
            (self.quantizer, self.action_dim),
            (self.decoder_embedding, n, pixels),
            (self.action_embedding, self.action_dim),
            (self.decoder, n, self.decoder.dim),
            (self.head, n, self.decoder.dim),
        ):
            layer.build((None, None, *shape))

    def call(self, video):
        patches = patchify(to_unit_range(video), self.patch_size)
        quantized = self.encode(patches)
        return {
            "prediction": self.predict_next(patches[:, :-1], quantized["quantized"]),
            **quantized,
        }

    def encode(self, patches):
        """Encode patches of frames 1..T as T-1 actions, see `VectorQuantizer`."""
        if self.sees_change:
            previous = ops.concatenate([patches[:, :1], patches[:, :-1]], axis=1)
            # With its change, each patch shows motion in a single token.
            patches = ops.concatenate([patches, patches - previous], axis=-1)
        tokens = self.encoder_embedding(patches)
        # The action token is only its learned position, the last one.
        tokens = ops.pad(tokens, [(0, 0), (0, 0), (0, 1), (0, 0)])
        return self.quantizer(self.to_latents(self.encoder(tokens)[:, 1:, -1]))

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
        predicted = (
            patches + output if self.predicts == "change" else ops.sigmoid(output)
        )
        return unpatchify(predicted, self.patch_size, *self.frame_shape[:2])

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
            LayerCall(self.encoder, frames, n + 1),
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
        }
