"""A short video that looks like a game."""

import numpy as np


def game_video(time: int = 6) -> np.ndarray:
    """Draw a square that moves across a landscape with flat areas, edges and gradients.

    Returns:
        uint8 (time, 48, 64, 3).
    """
    y, x = np.mgrid[0:48, 0:64]
    sky = np.stack([120 - y, 160 + y, 255 - x // 2], axis=-1)
    ground = np.stack([90 + (x * y) % 31, 60 + x // 3, 30 + y], axis=-1)
    video = np.tile(np.where(y[..., None] < 32, sky, ground), (time, 1, 1, 1))
    for t in range(time):
        video[t, 22:32, 5 + 6 * t : 15 + 6 * t] = (230, 40, 60)
    return video.astype("uint8")
