"""Positions of patches and frames: learned, sinusoidal, rotary, ALiBi and PEG."""

import keras
import numpy as np
from keras import ops

from genie_tf.layers.arguments import check_whole


@keras.saving.register_keras_serializable("genie_tf")
class SpatialPositionEmbedding(keras.layers.Layer):
    """Learned vector per patch position, added in every frame.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.
    """

    def build(self, input_shape):
        self.embedding = self.add_weight(
            shape=input_shape[-2:], initializer="truncated_normal", name="embedding"
        )

    def call(self, tokens):
        return tokens + ops.cast(self.embedding, tokens.dtype)


def rotary_embedding(vectors, positions, max_wavelength: float = 10_000.0):
    """Rotate pairs of features by angles proportional to position (RoFormer).

    The dot product of a rotated query and a rotated key depends only on the difference
    of their positions, so finished frames can be cached and a window can slide.

    Args:
        vectors: (..., length, heads, head_dim), head_dim even.
        positions: (length,) or (..., length) integers.
        max_wavelength: wavelength of the slowest rotation, in positions.

    Returns:
        The same shape and dtype. Computes in float32.
    """
    half = vectors.shape[-1] // 2
    exponents = ops.arange(half, dtype="float32") / half
    angles = ops.cast(positions, "float32")[..., None] / max_wavelength**exponents
    cos, sin = (x[..., None, :] for x in (ops.cos(angles), ops.sin(angles)))
    first, second = ops.split(ops.cast(vectors, "float32"), 2, axis=-1)
    rotated = ops.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return ops.cast(rotated, vectors.dtype)


def sinusoidal_embedding(positions, dim: int):
    """Return fixed vectors of positions (Vaswani et al. 2017; Jafar).

    Feature 2i is the sine, and feature 2i + 1 the cosine, of the position divided by
    10,000^(2i / dim).

    Args:
        positions: (...) integers, unbounded.
        dim: width of a vector.

    Returns:
        float32 (..., dim).
    """
    wavelengths = 10_000.0 ** (np.arange(0, dim, 2) / dim)
    angles = ops.cast(positions, "float32")[..., None] / ops.cast(
        wavelengths, "float32"
    )
    waves = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    shape = ops.shape(angles)
    return ops.reshape(waves, (*shape[:-1], 2 * len(wavelengths)))[..., :dim]


def alibi_slopes(num_heads: int) -> np.ndarray:
    """Return by how much attention falls per frame of age in each head, (num_heads,).

    A geometric sequence for a power of two of heads; else that of the largest power of
    two below, and every second slope of the next (ALiBi; Press et al. 2022).
    """

    def powers(heads):
        return [2 ** (-8 * (i + 1) / heads) for i in range(heads)]

    whole = 2 ** int(np.log2(num_heads))
    more = powers(2 * whole)[::2][: num_heads - whole]
    return np.array(powers(whole) + more, "float32")


@keras.saving.register_keras_serializable("genie_tf")
class PositionEncodingGenerator(keras.layers.Layer):
    """Depthwise convolution over space and past, added to its input (PEG).

    The kernel covers 3x3 patches of the frame and of the two frames before it. Borders
    are padded with zeros, so patches can tell where they are (Chu et al. 2023; causal in
    time as in Phenaki and GenieRedux).

    Args:
        grid: (rows, columns) of the patches of a frame.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.
    """

    def __init__(self, grid: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.grid = tuple(grid)

    def build(self, input_shape):
        self.dim = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(3, 3, 3, self.dim, 1),
            initializer=keras.initializers.RandomUniform(-(27**-0.5), 27**-0.5),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.dim,), initializer="zeros", name="bias")

    def call(self, tokens):
        before = ops.pad(tokens, [(0, 0), (2, 0), (0, 0), (0, 0)])
        return tokens + self._convolve(before)

    def empty_cache(self, batch: int):
        """Return an empty cache: the inputs of the two frames before."""
        shape = (batch, 2, self.grid[0] * self.grid[1], self.dim)
        return ops.zeros(shape, self.compute_dtype)

    def step(self, tokens, cache):
        """Return the output for one frame, (batch, 1, patches, dim)."""
        return tokens + self._convolve(ops.concatenate([cache, tokens], axis=1))

    def write(self, cache, tokens):
        """Return the cache with a frame added."""
        return ops.concatenate([cache[:, 1:], tokens], axis=1)

    def _convolve(self, tokens):
        """Return the convolution of all frames but the first two."""
        t = tokens.shape[1] or ops.shape(tokens)[1]
        kernel = ops.cast(self.kernel, tokens.dtype)
        images = ops.reshape(tokens, (-1, *self.grid, self.dim))
        total = ops.cast(self.bias, tokens.dtype)
        for tap in range(3):
            convolved = ops.depthwise_conv(
                images,
                kernel[tap],
                strides=1,
                padding="same",
                data_format="channels_last",
            )
            shape = (-1, t, self.grid[0] * self.grid[1], self.dim)
            total = total + ops.reshape(convolved, shape)[:, tap : t - 2 + tap]
        return total

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "grid": list(self.grid)}


@keras.saving.register_keras_serializable("genie_tf")
class SpatialBias(keras.layers.Layer):
    """Network from the offset of two patches to a bias of their attention.

    The offset enters as sign * log(1 + size), in rows and columns (continuous position
    bias, Liu et al. 2022; GenieRedux). Two hidden layers with leaky ReLU.

    Args:
        grid: (rows, columns) of the patches of a frame.
        num_heads: number of attention heads.
        hidden_dim: width of the hidden layers.
    """

    def __init__(
        self, grid: tuple[int, int], num_heads: int, hidden_dim: int, **kwargs
    ):
        super().__init__(**kwargs)
        check_whole(num_heads=num_heads, hidden_dim=hidden_dim)
        self.grid = tuple(grid)
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.first = keras.layers.Dense(hidden_dim, dtype="float32", name="first")
        self.second = keras.layers.Dense(hidden_dim, dtype="float32", name="second")
        self.to_bias = keras.layers.Dense(num_heads, dtype="float32", name="to_bias")
        self.first.build((None, 2))
        self.second.build((None, hidden_dim))
        self.to_bias.build((None, hidden_dim))
        self.built = True

    def compute(self):
        """Return the bias, float32 (num_heads, patches, patches): query, then key."""
        rows, columns = self.grid
        # The network sees each of the few different offsets once.
        offsets = np.stack(
            np.meshgrid(
                np.arange(1 - rows, rows),
                np.arange(1 - columns, columns),
                indexing="ij",
            ),
            axis=-1,
        ).reshape(-1, 2)
        logs = np.sign(offsets) * np.log1p(np.abs(offsets))
        hidden = ops.convert_to_tensor(logs.astype("float32"))
        for layer in (self.first, self.second):
            hidden = ops.leaky_relu(layer(hidden), negative_slope=0.1)
        row, column = np.divmod(np.arange(rows * columns), columns)
        index = (row[:, None] - row + rows - 1) * (2 * columns - 1) + (
            column[:, None] - column + columns - 1
        )
        bias = ops.take(self.to_bias(hidden), ops.convert_to_tensor(index), axis=0)
        return ops.transpose(bias, (2, 0, 1))

    def get_config(self):
        return {
            **super().get_config(),
            "grid": list(self.grid),
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
        }
