"""The contract of tokenizers: frames to discrete tokens and back."""

import math

import keras
from keras import ops

from genie_tf.models.trainable_model import TrainableModel


class Tokenizer(TrainableModel, contract=True):
    """Turns each frame into a grid of tokens, causally in time.

    Tokens and reconstructions of frame t depend on frames 1..t only.

    A call takes `video`, (batch, time, height, width, channels), uint8, or float in
    [0, 1], and returns a dict with at least `reconstruction`, float32 in [0, 1], of the
    video's shape, and `indices`, the tokens.

    Attributes:
        frame_shape: (height, width, channels) of a frame.
        grid: (rows, columns) of a frame's tokens.
        num_codes: size of the vocabulary.
        code_dim: width of a code.
        num_patches: tokens of a frame.
    """

    part_name = "tokenizer"

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
    def grid_shape(self) -> tuple[int, int, int]:
        """Shape of a frame of `codes_as_video`."""
        return (*self.grid, self.code_dim)

    def tokenize(self, video):
        """Return a video as tokens, int32 (batch, time, patches), row-major."""
        raise NotImplementedError

    def detokenize(self, tokens):
        """Return tokens (batch, time, patches) as a video, float32 in [0, 1]."""
        raise NotImplementedError

    def lookup(self, tokens):
        """Return the codes of tokens, float32 (..., code_dim), in [-1, 1]."""
        raise NotImplementedError

    def empty_cache(self, batch: int):
        """Return the cache of no frame, for `detokenize_step`.

        Here and in `detokenize_step`, each frame is decoded by itself; a tokenizer
        whose frames see the past overrides both.
        """
        return ()

    def detokenize_step(self, tokens, cache, position):
        """Return what `detokenize` does, one frame at a time.

        Args:
            tokens: int32 (batch, patches), the frame at `position`.
            cache: see `empty_cache`, or of the frame before.
            position: int (batch,), of each video, 0 for the first frame.

        Returns:
            float32 (batch, height, width, channels), in [0, 1]; and the cache with this
            frame in it.
        """
        return self.detokenize(tokens[:, None])[:, 0], cache

    def codes(self):
        """Return all codes, float32 (num_codes, code_dim)."""
        return self.lookup(ops.arange(self.num_codes))

    def codes_as_video(self, tokens):
        """Return tokens as a video with a pixel for each: its code, moved to [0, 1].

        Args:
            tokens: (batch, time, patches).

        Returns:
            float32 (batch, time, rows, columns, code_dim), without gradient.
        """
        pixels = (ops.stop_gradient(self.lookup(tokens)) + 1) / 2
        return ops.reshape(pixels, (-1, ops.shape(tokens)[1], *self.grid_shape))

    def reconstruct(self, batch):
        return self(batch["video"])["reconstruction"]

    def encoder_calls(self, frames: int):
        """Return those of `layer_calls` that `tokenize` needs, for a plan."""
        return self.layer_calls(frames)


def freeze(model: keras.Model) -> None:
    """Keep a model as it is while others train."""
    # First true: on TensorFlow, Keras passes over a value that is there already.
    model.trainable = True
    model.trainable = False
