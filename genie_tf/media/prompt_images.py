"""Reads images of users as the frames that worlds start from."""

import numbers
import os

import numpy as np

from genie_tf.files import local_path, open_regular
from genie_tf.media.decoder_process import decode
from genie_tf.media.image_reader import FITS

MAX_PROMPT_BYTES = 16 * 2**20


def load_prompt_image(source, height: int, width: int, fit: str = "crop"):
    """Read a picture of any size as the frame that a world starts from.

    It is decoded in a process of its own, which ends after 5 seconds of computing.

    Args:
        source: name of a PNG, JPEG or GIF file, or the bytes of one, or a file opened
            in binary mode. Any color mode will do, and any size up to 16 MiB, 40
            million pixels and sides of 65,535; of a GIF the first frame is taken,
            photos are turned upright, and what is transparent becomes black.
        height, width: of the frame, in pixels.
        fit: how the picture gets this size: "crop" scales it until it covers the frame
            and cuts off evenly what juts out; "pad" scales it until it fits in the
            frame, in the middle of black.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if there is no such image, or it is too large or damaged, or there
            is no such `fit`.
    """
    name = "The prompt image"
    if isinstance(source, bytes):
        content = source
    elif hasattr(source, "read"):
        content = source.read(MAX_PROMPT_BYTES + 1)
    else:
        name, content = f"{name} {os.fspath(source)}", _read_prompt(source)
    return decode_prompt_image(content, height, width, fit, name=name)


def decode_prompt_image(
    content: bytes,
    height: int,
    width: int,
    fit: str = "crop",
    seconds: float = 5.0,
    name: str = "The prompt image",
) -> np.ndarray:
    """Read a picture of unknown origin as a frame: see `image_reader.read_image`.

    Several threads may call this at the same time: each gets a worker.

    Args:
        content: the bytes of a PNG, JPEG or GIF file, 16 MiB at most.
        height, width: size of the frame, in pixels.
        fit: "crop" or "pad".
        seconds: computing time that decoding may take. On a busy machine it is ended
            after four times as long.
        name: of the picture, the first words of an error.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the content cannot be decoded within these limits, or there is no
            such size or `fit`.
    """
    if fit not in FITS:
        raise ValueError(f"`fit` must be one of {', '.join(FITS)}; received {fit}.")
    if not all(isinstance(x, numbers.Integral) and x > 0 for x in (height, width)):
        raise ValueError(
            f"A frame must be some pixels high and wide; received {height} x {width}."
        )
    try:
        if len(content) > MAX_PROMPT_BYTES:
            raise ValueError("it has more than 16 MiB")
        form = {"height": height, "width": width, "fit": fit}
        ((_, _, frame),) = decode("image", form, seconds, content)
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}.") from error
    return frame


def _read_prompt(path) -> bytes:
    """The bytes of a file, or the first of too many."""
    path = local_path(path)
    try:
        with open_regular(path) as file:
            return file.read(MAX_PROMPT_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(f"There is no prompt image {path}.") from None
    except OSError as error:
        raise ValueError(
            f"The prompt image {path} cannot be read: {error.strerror}."
        ) from error
