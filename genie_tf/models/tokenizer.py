"""Contract of tokenizers, which map frames to discrete tokens and back."""

import math

import keras
from keras import ops

from genie_tf.models.pixel_loss import ssim_metrics
from genie_tf.models.trainable_model import TrainableModel


class Tokenizer(TrainableModel, contract=True):
    """Model that maps each frame to a grid of tokens and back, causally in time.

    Tokens and reconstruction of frame t depend on frames 1..t only. Tokens can describe
    the change from the frame before: decoding then starts from a given first frame.

    A call takes `video`, (batch, time, height, width, channels), uint8, or float in
    [0, 1], and returns a dict with at least `reconstruction`, float32 in [0, 1], of the
    video's shape, and `indices`, the tokens.

    Attributes:
        frame_shape: (height, width, channels) of a frame.
        grid: (rows, columns) of a frame's tokens.
        num_codes: size of the vocabulary.
        code_dim: width of a code.
        num_patches: patches per frame.
        num_tokens: tokens per frame, one per patch by default.
        needs_first_frame: whether decoding starts from a given first frame.
    """

    part_name = "tokenizer"
    needs_first_frame = False

    frame_shape: tuple[int, int, int]
    grid: tuple[int, int]
    num_codes: int
    code_dim: int

    @property
    def sees_one_frame(self) -> bool:
        """Whether the tokens of a frame depend on that frame only."""
        return True

    @property
    def num_patches(self) -> int:
        return math.prod(self.grid)

    @property
    def num_tokens(self) -> int:
        return self.num_patches

    @property
    def grid_shape(self) -> tuple[int, int, int] | None:
        """Shape of a frame of `codes_as_video`; None if tokens are more than codes."""
        return (*self.grid, self.code_dim)

    def tokenize(self, video):
        """Return the tokens of a video, int32 (batch, time, tokens).

        If there is one token per patch, patches are in row-major order.
        """
        raise NotImplementedError

    def detokenize(self, tokens, first=None):
        """Decode tokens to a video, float32 in [0, 1].

        Args:
            tokens: int32 (batch, time, tokens).
            first: (batch, height, width, channels), the first frame; ignored unless
                `needs_first_frame`.
        """
        raise NotImplementedError

    def tokenize_and_decode(self, video, errors=None):
        """Return the tokens of a video, and the video as decoded from them.

        Args:
            video: (batch, time, height, width, channels).
            errors: bool (batch, time-1, patches), patches to decode wrongly, so that
                what follows mends them; ignored unless `needs_first_frame`.
        """
        tokens = self.tokenize(video)
        return tokens, self.detokenize(tokens, video[:, 0])

    def lookup(self, tokens):
        """Return the codes of tokens, float32 (..., code_dim), in [-1, 1]."""
        raise NotImplementedError

    def empty_cache(self, batch: int):
        """Return an empty cache for `detokenize_step`.

        By default, both methods decode each frame independently. A tokenizer whose
        decoder depends on past frames overrides both.
        """
        return ()

    def detokenize_first(self, tokens, frame):
        """Decode the first frame, equal to that of `detokenize`.

        Args:
            tokens: int32 (batch, tokens).
            frame: (batch, height, width, channels), the frame itself.

        Returns:
            See `detokenize_step`.
        """
        b = ops.shape(tokens)[0]
        return self.detokenize_step(
            tokens, self.empty_cache(b), ops.zeros((b,), "int32")
        )

    def detokenize_step(self, tokens, cache, position):
        """Decode one frame, equal to that of `detokenize`.

        Args:
            tokens: int32 (batch, tokens), the frame at `position`.
            cache: from `empty_cache`, or from the step before.
            position: int (batch,), position in each video, 0 for the first frame.

        Returns:
            float32 (batch, height, width, channels), in [0, 1]; and the cache with this
            frame added.
        """
        return self.detokenize(tokens[:, None])[:, 0], cache

    def codes_in(self, tokens):
        """Return the indices of the codes among tokens, int32, -1 for no code."""
        return tokens

    def codes(self):
        """Return all codes, float32 (num_codes, code_dim)."""
        return self.lookup(ops.arange(self.num_codes))

    def codes_as_video(self, tokens):
        """Return tokens as a video with one pixel per token: its code, in [0, 1].

        Args:
            tokens: (batch, time, patches).

        Returns:
            float32 (batch, time, rows, columns, code_dim), without gradient.
        """
        pixels = (ops.stop_gradient(self.lookup(tokens)) + 1) / 2
        return ops.reshape(pixels, (-1, ops.shape(tokens)[1], *self.grid_shape))

    def reconstruct(self, batch):
        return self(batch["video"])["reconstruction"]

    def validation_metrics(self, batch):
        given = int(self.needs_first_frame)
        return ssim_metrics(
            batch["video"][:, given:], self.reconstruct(batch)[:, given:]
        )

    def encoder_calls(self, frames: int):
        """Return the `layer_calls` of `tokenize`, for a plan of training."""
        return self.layer_calls(frames)


def freeze(model: keras.Model) -> None:
    """Freeze the weights of a model."""
    # Set to true first: on TensorFlow, Keras skips setting an unchanged value.
    model.trainable = True
    model.trainable = False
