"""A world as whoever plays it sees it: pictures and actions in, frames of bytes out."""

from collections.abc import Mapping

import keras
import numpy as np

from genie_tf.models import WorldModel
from genie_tf.pixels import to_bytes
from genie_tf.samplers import WorldSampler


class Simulator:
    """Plays a world for any number of players, who keep their states themselves.

    Args:
        world: what is played.

    Attributes:
        frame_shape: (height, width, channels).
        num_actions: how many actions there are.
        settings: what can be set about sampling.
    """

    def __init__(self, world: WorldModel):
        self.frame_shape = tuple(world.tokenizer.frame_shape)
        self.num_actions = world.num_actions
        self.settings = world.dynamics.sampling_settings
        self._sampler = WorldSampler(world)

    def start(self, picture: bytes) -> tuple[dict, bytes]:
        """Begin a world.

        Args:
            picture: the pixels of its first frame, `num_bytes` of them, row by row.

        Returns:
            The state, for `step`; and the frame as the tokenizer has it.
        """
        prompt = np.frombuffer(picture, "uint8").reshape(1, 1, *self.frame_shape)
        state, video = self._sampler.reset(prompt)
        return state, _pixels(video[0, 0])

    def step(self, state: dict, action: int, sampling: Mapping) -> tuple[dict, bytes]:
        """The state and the frame that follow; the same ones for the same arguments."""
        state, frame = self._sampler.step(state, [action], sampling=sampling)
        return state, _pixels(frame[0])

    def warm_up(self) -> int:
        """Compile what the first players would wait for.

        Returns:
            The size of a state, in bytes.
        """
        state, _ = self.start(bytes(self.num_bytes))
        state, _ = self.step(state, 0, {})
        return sum(
            keras.ops.convert_to_numpy(tensor).nbytes
            for tensor in keras.tree.flatten(state)
        )

    @property
    def num_bytes(self) -> int:
        """Of a frame."""
        return int(np.prod(self.frame_shape))


def _pixels(frame) -> bytes:
    return to_bytes(keras.ops.convert_to_numpy(frame)).tobytes()
