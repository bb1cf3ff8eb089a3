"""Flags for a prompt: its frames and the actions between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from genie_tf.experiments.cli.flags import define_path
from genie_tf.files import local_path

if TYPE_CHECKING:
    from genie_tf.media.prompts import Prompt

flags.disclaim_key_flags()


def define_prompt_flags() -> None:
    """Define the flags that `read_prompt` reads."""
    from genie_tf.media import FITS  # Slow, and other programs do not need it.

    define_path(
        "prompt",
        None,
        "First frame: PNG, JPEG or GIF of any size; or several, separated by commas.",
    )
    flags.DEFINE_list(
        "prompt_actions",
        None,
        "Actions between the frames of the prompt: 1,4. A guided world needs them; any "
        "other infers them by default.",
    )
    flags.DEFINE_enum(
        "fit",
        "crop",
        FITS,
        "Way to fit the image to the frame: crop, scaled to cover it and cropped; or "
        "pad, scaled to fit into it, on black.",
    )


def read_prompt(frame_size: tuple[int, int], num_actions: int) -> "Prompt":
    """Return the prompt that the flags name.

    Args:
        frame_size: (height, width) of the world's frames.
        num_actions: number of actions of the world.

    Raises:
        ValueError: if an image cannot be read, or an action is not a number in range.
    """
    from genie_tf.media.prompts import load_prompt

    flag = flags.FLAGS
    words = flag.prompt_actions
    actions = words and parse_actions(words, num_actions, "prompt_actions")
    is_one = local_path(flag.prompt).is_file()
    images = [flag.prompt] if is_one else flag.prompt.split(",")
    return load_prompt(images, *frame_size, flag.fit, actions or None)


def parse_actions(
    words: Sequence[str], num_actions: int, flag: str = "actions"
) -> list[int]:
    """Return actions as numbers.

    Args:
        words: actions as typed.
        num_actions: number of actions of the world.
        flag: name of the flag, for the error.

    Raises:
        ValueError: if there are none, or one is not an integer in [0, num_actions).
    """
    if not words or not all(
        word.strip().isdecimal() and int(word) < num_actions for word in words
    ):
        raise ValueError(
            f"--{flag} must be numbers from 0 to {num_actions - 1}, separated by "
            f"commas; received {','.join(words)!r}."
        )
    return [int(word) for word in words]
