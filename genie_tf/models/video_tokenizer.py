"""Genie's video tokenizer: the ST-ViViT VQ-VAE of section 2.1."""

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
from genie_tf.models.layer_calls import LayerCall, calls_for_each_patch
from genie_tf.models.pixel_loss import pixel_metrics
from genie_tf.models.preprocessing import to_unit_range
from genie_tf.models.tokenizer import Tokenizer
from genie_tf.models.trainable_model import dropout_key


@keras.saving.register_keras_serializable("genie_tf")
class VideoTokenizer(Tokenizer):
    """Tokenizer that maps each patch of each frame to one token, causally in time.

    Args:
        frame_shape: (height, width, channels) of a frame.
        patch_size: side of a patch in pixels.
        num_codes: size of the codebook.
        code_dim: width of a code.
        encoder: arguments of the encoder's `STTransformer`.
        decoder: arguments of the decoder's `STTransformer`.
        quantizer: see `make_quantizer`.
        output: how features become pixels: "sigmoid", of a dense layer; or "linear",
            cut to [0, 1] only by `detokenize` (GenieRedux).
        own_first_frame: embed and decode the first frame with its own weights, and embed
            between two layer norms, see `OwnFirstFrame` (GenieRedux).

    If a transformer has an `entry`, that replaces the dense layer before it.

    Call arguments:
        video: (batch, time, height, width, channels), uint8, or float in [0, 1].
        key: see `VectorQuantizer`; only in training.

    Returns:
        A dict: `reconstruction`, float32 of the video's shape, in [0, 1] unless the
        output is linear; `indices`,
        the tokens, int32 (batch, time, patches), row-major over the patch grid;
        and the other outputs of `VectorQuantizer`. Outputs of frame t depend on
        frames 1..t only.

    Example:

    ```python
    transformer = {"dim": 32, "num_blocks": 2, "num_heads": 2}
    tokenizer = VideoTokenizer((64, 64, 3), 16, 64, 8, transformer, transformer)
    tokens = tokenizer.tokenize(video)  # int32 (batch, time, 16)
    video = tokenizer.detokenize(tokens)  # float32 in [0, 1]
    ```
    """

    layer_classes = {
        "encoder": lambda _: STTransformer,
        "decoder": lambda _: STTransformer,
        "quantizer": quantizer_class,
    }
    cached_layer = "decoder"

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        patch_size: int,
        num_codes: int,
        code_dim: int,
        encoder: dict,
        decoder: dict,
        quantizer: dict | None = None,
        output: str = "sigmoid",
        own_first_frame: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_frame_shape(frame_shape)
        check_whole(patch_size=patch_size, num_codes=num_codes, code_dim=code_dim)
        check_choice(("sigmoid", "linear"), output=output)
        check_flag(own_first_frame=own_first_frame)
        self.output_kind = output
        self.own_first_frame = own_first_frame
        self.frame_shape = tuple(frame_shape)
        self.patch_size = patch_size
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.quantizer_arguments = dict(quantizer or {})
        self.grid = patch_grid(*self.frame_shape[:2], patch_size)
        policy = {"dtype": self.dtype_policy}
        self.encoder = STTransformer(**encoder, **policy)
        self.decoder = STTransformer(**decoder, **policy)
        self.patch_embedding = embedding_for(self.encoder, own_first_frame)
        self.to_latents = keras.layers.Dense(code_dim, **policy)
        self.quantizer = make_quantizer(num_codes, code_dim, quantizer)
        self.code_embedding = embedding_for(self.decoder)
        pixels = patch_size**2 * self.frame_shape[-1]
        to_pixels = OwnFirstFrame if own_first_frame else keras.layers.Dense
        self.to_pixels = to_pixels(pixels, **policy)
        self.build(None)

    def build(self, input_shape):
        pixels = self.patch_size**2 * self.frame_shape[-1]
        # An embedding that is an entry of its transformer leaves the width as it is.
        for layers, width in (
            ((self.patch_embedding, self.encoder, self.to_latents), pixels),
            ((self.code_embedding, self.decoder, self.to_pixels), self.code_dim),
        ):
            shape = (None, None, self.num_patches, width)
            for layer in layers:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        self.quantizer.build((None, None, self.num_patches, self.code_dim))

    def call(self, video, key=None):
        quantized = self.encode(video, key)
        return {"reconstruction": self.decode(quantized["quantized"]), **quantized}

    def encode(self, video, key=None):
        """Encode a video, one latent per patch; return outputs of `VectorQuantizer`."""
        patches = patchify(to_unit_range(video, self.compute_dtype), self.patch_size)
        return self.quantizer(
            self.to_latents(self.encoder(self.patch_embedding(patches))), key
        )

    def decode(self, codes):
        """Decode codes (batch, time, patches, code_dim) to float32 video."""
        return self.to_video(self.to_pixels(self.decoder(self.code_embedding(codes))))

    def to_video(self, patches):
        pixels = ops.cast(patches, "float32")
        if self.output_kind == "sigmoid":
            pixels = ops.sigmoid(pixels)
        return unpatchify(pixels, self.patch_size, *self.frame_shape[:2])

    @property
    def sees_one_frame(self) -> bool:
        return self.encoder.sees_one_frame

    def tokenize(self, video):
        return self.encode(video)["indices"]

    def detokenize(self, tokens, first=None):
        return ops.clip(self.decode(self.lookup(tokens)), 0, 1)

    def lookup(self, tokens):
        return self.quantizer.lookup(tokens)

    def empty_cache(self, batch: int):
        return self.decoder.empty_cache(batch, self.num_patches)

    def detokenize_step(self, tokens, cache, position):
        codes = self.code_embedding(self.lookup(tokens))[:, None]
        features, entries = self.decoder.step(codes, cache, position)
        cache = self.decoder.write(cache, entries, position)
        own = (position,) if self.own_first_frame else ()
        frame = self.to_video(self.to_pixels(features, *own))[:, 0]
        return ops.clip(frame, 0, 1), cache

    def losses_and_metrics(self, batch):
        """Return loss and metrics; loss = reconstruction MSE + quantizer loss."""
        video = to_unit_range(batch["video"])
        outputs = self(video, *dropout_key(batch))
        metrics = pixel_metrics(
            "reconstruction_loss", video, outputs["reconstruction"], outputs["loss"]
        )
        return metrics, self.quantizer.codebook_stats(outputs)

    def encoder_calls(self, frames: int):
        n = self.num_patches
        return [
            LayerCall(self.patch_embedding, frames, n, input_gradient=False),
            *calls_for_each_patch(
                (self.encoder, self.to_latents, self.quantizer), frames, n
            ),
        ]

    def layer_calls(self, frames: int):
        n = self.num_patches
        return [
            *self.encoder_calls(frames),
            *calls_for_each_patch((self.code_embedding, self.decoder), frames, n),
            LayerCall(self.to_pixels, frames, n, squared_error=True),
        ]

    def settings(self):
        """Return the class name and arguments; newer ones only if not the default.

        The digest of a tokenizer with which tokens were stored then stays.
        """
        defaults = {"output": "sigmoid", "own_first_frame": False}
        return {
            name: value
            for name, value in super().settings().items()
            if name not in defaults or value != defaults[name]
        }

    def arguments(self):
        return {
            "frame_shape": self.frame_shape,
            "patch_size": self.patch_size,
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "encoder": self.encoder.arguments(),
            "decoder": self.decoder.arguments(),
            "quantizer": self.quantizer_arguments,
            "output": self.output_kind,
            "own_first_frame": self.own_first_frame,
        }
