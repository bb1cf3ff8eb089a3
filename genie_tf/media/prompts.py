"""Prompts of worlds: one frame or several, and the actions between them."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genie_tf.media.prompt_images import load_prompt_image


class Prompt(NamedTuple):
    """First frames of a video.

    Attributes:
        frames: uint8 (time, height, width, 3), one frame or more.
        actions: the time - 1 actions between them; None to infer them.
    """

    frames: np.ndarray
    actions: Sequence[int] | None = None


def load_prompt(
    images: Sequence[str | os.PathLike],
    height: int,
    width: int,
    fit: str = "crop",
    actions: Sequence[int] | None = None,
) -> Prompt:
    """Read the frames of a prompt.

    Args:
        images: file names, see `load_prompt_image`.
        height, width, fit: see `load_prompt_image`.
        actions: actions between the frames; None to infer them.

    Raises:
        ValueError: if an image cannot be read.
    """
    frames = [load_prompt_image(image, height, width, fit) for image in images]
    return Prompt(np.stack(frames), actions)


def check_prompt_actions(
    prompt: Prompt, infers_actions: bool, num_actions: int
) -> None:
    """Check the actions of a prompt.

    Args:
        prompt: the prompt.
        infers_actions, num_actions: attributes of the world.

    Raises:
        ValueError: if actions are missing, too few or too many, or not those of the world.
    """
    expected = len(prompt.frames) - 1
    what = f"{expected} prompt actions, between {expected + 1} prompt frames"
    if prompt.actions is None:
        if expected and not infers_actions:
            raise ValueError(
                f"Expected {what}, which a guided world cannot infer; received none."
            )
        return
    if len(prompt.actions) != expected:
        raise ValueError(f"Expected {what}; received {len(prompt.actions)}.")
    for action in prompt.actions:
        if not 0 <= action < num_actions:
            raise ValueError(
                f"Expected {what} from 0 to {num_actions - 1}; received {action}."
            )
