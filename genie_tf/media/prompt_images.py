"""Reading of user images as prompt frames."""

import numbers
import os

import numpy as np

from genie_tf.files import local_path, open_regular
from genie_tf.media.decoder_process import decode
from genie_tf.media.image_reader import FITS

MAX_PROMPT_BYTES = 16 * 2**20


def load_prompt_image(source, height: int, width: int, fit: str = "crop"):
    """Read an image of any size as a prompt frame.

    The image is decoded in a separate process, limited to 5 seconds of CPU time.

    Args:
        source: name of a PNG, JPEG or GIF file, the bytes of one, or a file opened in
            binary mode. Any color mode is accepted, up to 16 MiB, 40 million pixels
            and sides of 65,535 pixels. For a GIF only the first frame is read, photos
            are turned upright, and transparent pixels become black.
        height, width: size of the frame, in pixels.
        fit: "crop" scales the image to cover the frame and cuts off the excess evenly
            on both sides; "pad" scales it to fit inside the frame and adds black bars.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the image does not exist, is too large or damaged, or `fit` is
            unknown.
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
    """Read an untrusted image as a frame; see `image_reader.read_image`.

    Several threads can call this at the same time; each gets its own worker.

    Args:
        content: bytes of a PNG, JPEG or GIF file, at most 16 MiB.
        height, width: size of the frame, in pixels.
        fit: "crop" or "pad".
        seconds: limit for the CPU time of decoding, in seconds. The limit for wall time
            is four times as long.
        name: first words of an error message, which name the image.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the content cannot be decoded within these limits, or the size or
            `fit` is invalid.
    """
    if fit not in FITS:
        raise ValueError(f"`fit` must be one of {', '.join(FITS)}; received {fit}.")
    if not all(isinstance(x, numbers.Integral) and x > 0 for x in (height, width)):
        raise ValueError(
            "The height and width of a frame must be positive integers; received "
            f"{height} x {width}."
        )
    try:
        if len(content) > MAX_PROMPT_BYTES:
            raise ValueError("it is larger than 16 MiB")
        form = {"height": height, "width": width, "fit": fit}
        ((_, _, frame),) = decode("image", form, seconds, content)
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}.") from error
    return frame


def _read_prompt(path) -> bytes:
    """Read a file, but at most one byte more than `MAX_PROMPT_BYTES`."""
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
