"""A world without a model, for tests of how worlds are served."""

import time
from collections.abc import Mapping

import numpy as np

from genie_tf.sampling_settings import ALL_SETTINGS


class ToySimulator:
    """A white square on grey that actions move: left, right, up, down. Nothing else does.

    Args:
        seconds: that a step takes.
    """

    frame_shape = (16, 16, 3)
    num_actions = 4
    settings = ALL_SETTINGS
    num_bytes = 16 * 16 * 3

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds
        self.actions: list[int] = []  # All that were ever taken.

    def warm_up(self) -> int:
        """The size of a state, as if it were one of a small model."""
        return 2**20

    def start(self, picture: bytes) -> tuple[dict, bytes]:
        """The square begins in the middle; of the picture the first byte is the grey."""
        state = {"grey": picture[0], "row": 8, "column": 8}
        return state, self._frame(**state)

    def step(self, state: dict, action: int, sampling: Mapping) -> tuple[dict, bytes]:
        """Move the square."""
        time.sleep(self.seconds)
        self.actions.append(action)
        name = ("column", "column", "row", "row")[action]
        state = {**state, name: (state[name] + (-1, 1)[action % 2]) % 16}
        return state, self._frame(**state)

    def _frame(self, grey: int, row: int, column: int) -> bytes:
        frame = np.full(self.frame_shape, grey, "uint8")
        frame[row, column] = 255
        return frame.tobytes()
