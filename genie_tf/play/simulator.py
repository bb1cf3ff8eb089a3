"""World in terms of bytes: an image and actions in, frames out."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from genie_tf.models import WorldModel
from genie_tf.pixels import to_bytes
from genie_tf.samplers import WorldSampler


class Simulator:
    """Simulates a world for any number of players, who keep their own states.

    Args:
        world: model of the world.

    Attributes:
        frame_shape: (height, width, channels).
        num_actions: number of actions.
        settings: sampling settings of the world's dynamics.

    Example:
        simulator = Simulator(genie_tf.load("genie_coinrun"))
        state, frame = simulator.start(bytes(simulator.num_bytes))
        state, frame = simulator.step(state, action=1, sampling={"num_steps": 4})
    """

    def __init__(self, world: WorldModel):
        self.frame_shape = tuple(world.tokenizer.frame_shape)
        self.num_actions = world.num_actions
        self.settings = world.dynamics.sampling_settings
        self._sampler = WorldSampler(world)

    def start(
        self, prompt: bytes, actions: Sequence[int] | None = None
    ) -> tuple[dict, bytes]:
        """Start a world from a prompt.

        Args:
            prompt: pixels of one frame or more, row by row, `num_bytes` bytes each.
            actions: actions between the frames; inferred by default.

        Returns:
            The state for `step`, and the last frame as the tokenizer reconstructs it.
        """
        frames = np.frombuffer(prompt, "uint8").reshape(1, -1, *self.frame_shape)
        state, video = self._sampler.reset(frames, actions and [actions])
        return state, _pixels(video[0, -1])

    def step(self, state: dict, action: int, sampling: Mapping) -> tuple[dict, bytes]:
        """Return the next state and frame, which depend only on the arguments."""
        state, frame = self._sampler.step(state, [action], sampling=sampling)
        return state, _pixels(frame[0])

    def warm_up(self) -> int:
        """Compile the model, so that the first player does not wait for it.

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
        """Bytes per frame."""
        return int(np.prod(self.frame_shape))


def _pixels(frame) -> bytes:
    return to_bytes(keras.ops.convert_to_numpy(frame)).tobytes()
