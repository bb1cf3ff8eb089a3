"""A world without a model, for tests of serving worlds."""

import time
from collections.abc import Mapping

import numpy as np

from genie_tf.sampling_settings import ALL_SETTINGS


class ToySimulator:
    """White square on gray, moved only by actions: left, right, up, down.

    Args:
        seconds: duration of a step.
    """

    frame_shape = (16, 16, 3)
    num_actions = 4
    settings = ALL_SETTINGS
    num_bytes = 16 * 16 * 3

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds
        self.actions: list[int] = []  # All actions taken, in all sessions.

    def warm_up(self) -> int:
        """Return the size of a state, as for a small model."""
        return 2**20

    def start(self, prompt: bytes, actions=None) -> tuple[dict, bytes]:
        """Center the square, on the gray of the last frame's first byte."""
        state = {"gray": prompt[-self.num_bytes], "row": 8, "column": 8}
        return state, self._frame(**state)

    def step(self, state: dict, action: int, sampling: Mapping) -> tuple[dict, bytes]:
        """Move the square."""
        time.sleep(self.seconds)
        self.actions.append(action)
        name = ("column", "column", "row", "row")[action]
        state = {**state, name: (state[name] + (-1, 1)[action % 2]) % 16}
        return state, self._frame(**state)

    def _frame(self, gray: int, row: int, column: int) -> bytes:
        frame = np.full(self.frame_shape, gray, "uint8")
        frame[row, column] = 255
        return frame.tobytes()
