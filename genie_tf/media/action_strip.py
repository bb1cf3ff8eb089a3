"""A strip below a video with the actions taken at each frame."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genie_tf.media.video_grid import grid

_HEIGHT = 20  # Pixels.
_SHOWN = 2  # Actions before and after the present one.


def add_action_strip(
    video: np.ndarray, actions: Sequence[int], names: Sequence[str], scale: int = 4
) -> np.ndarray:
    """Enlarge a video and write the latest, the present and the next actions below it.

    The present action, in the middle, is on yellow.

    Args:
        video: (time, height, width, 3).
        actions: action taken at each frame.
        names: name of each action.
        scale: factor by which frames are enlarged.

    Returns:
        uint8 (time, scale*height + 20, scale*width, 3).

    Raises:
        ValueError: if there is not one action per frame.
    """
    if len(video) != len(actions):
        raise ValueError(
            f"An action strip needs one action per frame; received {len(actions)} for "
            f"{len(video)} frames."
        )
    video = grid([video], scale=scale)
    texts = [names[action] for action in actions]
    padded = [""] * _SHOWN + texts + [""] * _SHOWN
    strips = [
        _draw_strip(padded[i : i + 2 * _SHOWN + 1], video.shape[2])
        for i in range(len(texts))
    ]
    return np.concatenate([video, np.stack(strips)], axis=1)


def _draw_strip(texts: Sequence[str], width: int) -> np.ndarray:
    """Return a row of texts, the middle one on yellow, uint8 (20, width, 3)."""
    strip = Image.new("RGB", (width, _HEIGHT), "white")
    draw = ImageDraw.Draw(strip)
    cell = width / len(texts)
    draw.rectangle((_SHOWN * cell, 0, (_SHOWN + 1) * cell - 1, _HEIGHT), "#ffd84d")
    for index, text in enumerate(texts):
        color = "black" if index == _SHOWN else "gray"
        middle = (index + 0.5) * cell, _HEIGHT / 2
        draw.text(middle, text, color, ImageFont.load_default(), anchor="mm")
    return np.asarray(strip)
