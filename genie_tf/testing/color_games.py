"""A game that is learned within seconds: choose the number of the color shown."""

import numpy as np

COLORS = ("red", "green", "blue")
FRAME_SHAPE = (8, 8, 3)


class ColorGames:
    """`Games` whose right action, at each step, is the number of the frame's color.

    The next color depends on the action too, so that the order of play matters. An
    episode ends after four steps.
    """

    def __init__(self, num_games: int):
        self.num_games = num_games
        self._colors = np.arange(num_games) % len(COLORS)
        self._ages = np.arange(num_games) % 4
        self._rewards = np.zeros(num_games, np.float32)
        self._is_first = np.ones(num_games, bool)
        self.is_closed = False

    def observe(self):
        frames = np.zeros((self.num_games, *FRAME_SHAPE), np.uint8)
        for frame, color in zip(frames, self._colors):
            frame[..., color] = 255
        return self._rewards.copy(), frames, self._is_first.copy()

    def act(self, actions):
        self._rewards = (actions == self._colors).astype(np.float32)
        self._colors = (self._colors * 5 + actions + self._ages) % len(COLORS)
        self._ages = (self._ages + 1) % 4
        self._is_first = self._ages == 0

    def state(self):
        return {
            "colors": self._colors,
            "ages": self._ages,
            "rewards": self._rewards,
            "is_first": self._is_first,
        }

    def restore(self, state):
        for name, array in state.items():
            setattr(self, f"_{name}", array)

    def close(self):
        self.is_closed = True
