"""Reading of images as small frames, as an image viewer would display them.

Untrusted images can take hours and gigabytes to read, or crash the decoder, so
`decoder_process` runs this code in a separate process.
"""

import contextlib
import io
import warnings

import numpy as np
from PIL import Image, ImageCms, ImageOps

FITS = ("crop", "pad")  # Ways to fit an image to the size of a frame.
MAX_PIXELS = 40_000_000
MAX_SIDE = 65_535  # Limit of JPEG; longer sides make Pillow take gigabytes.

_UNREADABLE = "it cannot be read as a PNG, JPEG or GIF image"


def read_image(file, height: int, width: int, fit: str = "crop") -> np.ndarray:
    """Read an image of any size as a frame.

    Photos are turned upright, colors are converted to sRGB if the image has a color
    profile, 16-bit colors become 8-bit, and transparent pixels become black. For a GIF,
    only the first frame is read.

    Args:
        file: name of a PNG, JPEG or GIF file, or such a file opened in binary mode.
        height, width: size of the frame, in pixels.
        fit: "crop" scales the image to cover the frame and cuts off the excess evenly
            on both sides; "pad" scales it to fit inside the frame and adds black bars.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the file is not such an image, is damaged, or has too many
            pixels. The message is a clause without a period, such as "it is damaged".
    """
    try:
        with _open(file) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise Image.DecompressionBombError
            # JPEGs can be decoded at a half, a quarter or an eighth of their size.
            image.draft(None, (2 * max(height, width),) * 2)
            image.load()
            return fit_image(_upright(image), height, width, fit)
    except Image.DecompressionBombError:
        raise ValueError(
            f"it has more than {MAX_PIXELS // 1_000_000} million pixels, or a side of "
            f"more than {MAX_SIDE:,}"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # Damaged images raise many kinds of errors.
        raise ValueError(_UNREADABLE) from error


def fit_image(
    image: Image.Image, height: int, width: int, fit: str = "crop"
) -> np.ndarray:
    """Fit an image to a frame; transparent and uncovered pixels become black.

    Args:
        image: image of mode L, LA, RGB, RGBA or CMYK.
        height, width, fit: see `read_image`.

    Returns:
        uint8 (height, width, 3), in sRGB.
    """
    method = Image.Resampling.LANCZOS
    if fit == "crop":
        image = ImageOps.fit(image, (width, height), method)
    else:
        scale = min(width / image.width, height / image.height)
        # Even a very thin image keeps at least one pixel per side.
        size = [max(1, round(scale * side)) for side in image.size]
        image = image.resize(size, method)
    frame = Image.new("RGB", (width, height))
    corner = ((width - image.width) // 2, (height - image.height) // 2)
    mask = image.getchannel("A") if image.mode.endswith("A") else None
    frame.paste(_to_srgb(image), corner, mask)
    return np.array(frame)


def _open(file) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns about sizes that `read_image` rejects.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=("PNG", "JPEG", "GIF"))


def _upright(image: Image.Image) -> Image.Image:
    """Turn a photo upright, and convert it to mode L, LA, RGB, RGBA or CMYK."""
    with contextlib.suppress(Exception):  # Ignore damaged EXIF data.
        ImageOps.exif_transpose(image, in_place=True)
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # Pillow reduces the image to 8 bits, but not its transparent color.
        transparent = tuple(value >> 8 for value in transparent)
        image.info["transparency"] = transparent
    if image.mode.startswith("I"):  # Pillow would clip 16 bits to 255.
        values = np.asarray(image).astype(int)
        upright = Image.fromarray(((values + 128) // 257).astype("uint8"))
        if transparent is not None:
            upright.putalpha(Image.fromarray(values != transparent).convert("L"))
    elif image.mode in ("1", "P", "PA") or transparent is not None:
        mode = "L" if image.mode in ("1", "L") else "RGB"
        upright = image.convert(mode + "A" * image.has_transparency_data)
    else:
        return image
    upright.info["icc_profile"] = image.info.get("icc_profile")
    return upright


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB, without its alpha channel."""
    colors = image.convert(image.mode.removesuffix("A"))
    profile = image.info.get("icc_profile")
    if profile:
        # Ignore damaged profiles and those for another mode.
        with contextlib.suppress(OSError, ImageCms.PyCMSError):
            return ImageCms.profileToProfile(
                colors,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
    return colors.convert("RGB")
