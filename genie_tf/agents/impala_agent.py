"""Agent with the residual network of IMPALA."""

import math
from collections.abc import Sequence

from keras import initializers, layers, ops

from genie_tf.agents.agent import Agent
from genie_tf.layers.arguments import check_flag, check_whole


class ImpalaAgent(Agent):
    """Agent with the convolutional network of IMPALA (Espeholt et al. 2018).

    By default as in the experiments of Procgen (Cobbe et al. 2020): 626,256 weights for
    15 actions.

    Args:
        game, action_names, frame_shape, paint_velocity: see `Agent`.
        shrink: factor by which frames are shrunk first, which must divide their sides.
        channels: channels of each stage, which halves the sides.
        dim: width of the layer before the policy and the value.
        mean_pooling: whether that layer sees the mean of each channel, as in Impoola
            (Trumpp et al. 2025), instead of all positions.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        game: str,
        action_names: Sequence[str],
        frame_shape: Sequence[int] = (64, 64, 3),
        paint_velocity: bool = False,
        shrink: int = 1,
        channels: Sequence[int] = (16, 32, 32),
        dim: int = 256,
        mean_pooling: bool = False,
    ):
        super().__init__(game, action_names, frame_shape, paint_velocity)
        check_whole(shrink=shrink, dim=dim)
        check_flag(mean_pooling=mean_pooling)
        if not isinstance(channels, (tuple, list)) or not channels:
            raise ValueError(f"`channels` must be a list; received {channels!r:.80}.")
        for number in channels:
            check_whole(channels=number)
        height, width, depth = self.frame_shape
        if height % shrink or width % shrink:
            raise ValueError(
                f"`shrink` must divide the sides of a frame, {height} and {width}; "
                f"received {shrink}."
            )
        self.shrink = shrink
        self.channels = tuple(channels)
        self.dim = dim
        self.mean_pooling = mean_pooling

        self.stages = [_Stage(number) for number in channels]
        self.hidden = layers.Dense(dim, activation="relu")
        # As in OpenAI baselines: the first policy is nearly uniform.
        self.policy = _head(self.num_actions, 0.01)
        self.value = _head(1, 1.0)
        for stage in self.stages:
            stage.build((None, None, None, depth))
            depth = stage.channels
        sides = [math.ceil(x / shrink / 2 ** len(channels)) for x in (height, width)]
        positions = 1 if mean_pooling else math.prod(sides)
        self.hidden.build((None, positions * depth))
        for head in (self.policy, self.value):
            head.build((None, dim))
        self.built = True

    def arguments(self) -> dict:
        return {
            **super().arguments(),
            "shrink": self.shrink,
            "channels": self.channels,
            "dim": self.dim,
            "mean_pooling": self.mean_pooling,
        }

    def call(self, frames):
        x = ops.cast(frames, self.compute_dtype) / 255
        if self.shrink > 1:
            x = ops.average_pool(x, self.shrink, self.shrink)
        for stage in self.stages:
            x = stage(x)
        x = ops.relu(x)
        if self.mean_pooling:
            x = ops.mean(x, axis=(1, 2))
        else:
            x = ops.reshape(x, (-1, math.prod(x.shape[1:])))
        x = self.hidden(x)
        return self.policy(x), self.value(x)[:, 0]


class _Stage(layers.Layer):
    """Convolution, max pooling that halves the sides, and two residual blocks."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.convolutions = [
            layers.Conv2D(channels, 3, padding="same") for _ in range(5)
        ]

    def build(self, input_shape):
        for convolution in self.convolutions:
            convolution.build(input_shape)
            input_shape = (*input_shape[:-1], self.channels)
        self.built = True

    def call(self, x):
        first, *others = self.convolutions
        x = ops.max_pool(first(x), 3, 2, padding="same")
        for before, after in zip(others[::2], others[1::2], strict=True):
            x = x + after(ops.relu(before(ops.relu(x))))
        return x


def _head(size: int, gain: float) -> layers.Dense:
    """Return a linear layer; float32 under any dtype policy."""
    return layers.Dense(
        size, kernel_initializer=initializers.Orthogonal(gain), dtype="float32"
    )
