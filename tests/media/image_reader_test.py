"""Tests of image reading against Pillow and known pixels."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from genie_tf.media.image_reader import FITS, read_image
from genie_tf.testing.game_video import game_video


def encoded(image, kind, **settings):
    """Return an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def read(content, height=48, width=64, fit="crop"):
    return read_image(io.BytesIO(content), height, width, fit)


def mean_error(a, b):
    return np.abs(a.astype("int32") - b.astype("int32")).mean()


def assert_unreadable(content):
    with pytest.raises(
        ValueError, match="^it cannot be read as a PNG, JPEG or GIF image$"
    ):
        read(content)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("PNG", mode) for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")],
        *[("GIF", mode) for mode in ("RGB", "RGBA", "P", "L", "LA", "1")],
    ],
)
def test_any_mode_becomes_rgb(kind, mode):
    gray = np.repeat(np.array([[0, 255], [255, 0], [0, 0]], "uint8"), 3, axis=1)
    if mode == "I;16":
        image = Image.fromarray(gray.astype("uint16") * 257)
    else:
        image = Image.fromarray(gray).convert(mode)
    frame = read(encoded(image, kind), 3, 6)
    assert frame.dtype == "uint8"
    np.testing.assert_array_equal(frame, np.stack([gray] * 3, axis=-1))


def test_colors_are_kept():
    frame = game_video()[0]
    image = Image.fromarray(frame)
    np.testing.assert_array_equal(read(encoded(image, "PNG")), frame)
    assert mean_error(read(encoded(image, "JPEG", quality=95)), frame) < 4


def test_cmyk_jpeg_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    frame = read(encoded(image, "JPEG", quality=95), 8, 8)
    assert mean_error(frame, np.full((8, 8, 3), (255, 0, 0))) < 8


def png(width, height, bit_depth, color_type, rows, *more_chunks):
    """Return a PNG with given rows, in formats that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", header), *more_chunks, (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_become_8(channels):
    """Check gray, gray with alpha, RGB and RGBA images, all opaque."""
    levels = np.arange(0, 256, 5)
    rows = np.repeat(levels, channels).reshape(1, -1, channels) * 257
    if channels % 2 == 0:
        rows[..., -1] = 65_535
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    content = png(len(levels), 1, 16, color_type, rows.astype(">u2"))
    frame = read(content, 1, len(levels))
    np.testing.assert_array_equal(frame[0], np.stack([levels] * 3, -1))


@pytest.mark.parametrize(
    ("color_type", "bit_depth", "pixels", "transparent"),
    [
        (0, 16, [[1000], [60_000]], [1000]),
        (0, 8, [[200], [233]], [200]),
        (2, 8, [[200, 0, 9], [233, 233, 233]], [200, 0, 9]),
        (2, 16, [[51_200, 0, 9], [60_000] * 3], [51_200, 0, 9]),
    ],
)
def test_transparent_color_becomes_black(color_type, bit_depth, pixels, transparent):
    rows = np.array([pixels], ">u2" if bit_depth == 16 else "u1")
    chunk = (b"tRNS", np.array(transparent, ">u2").tobytes())
    frame = read(png(2, 1, bit_depth, color_type, rows, chunk), 1, 2)
    np.testing.assert_allclose(frame[0], [[0] * 3, [233] * 3], atol=1)


def test_transparent_pixels_become_black():
    pixels = np.full((2, 2, 4), 200, "uint8")
    pixels[..., 3] = [[0, 255], [128, 255]]
    frame = read(encoded(Image.fromarray(pixels), "PNG"), 2, 2)
    np.testing.assert_array_equal(frame[..., 0], [[0, 200], [100, 200]])


def test_first_frame_of_gif_is_read():
    """Check also that a transparent palette color becomes black."""
    first = Image.new("P", (2, 1), 1)
    first.putpalette([255, 0, 0, 10, 200, 30])
    first.putpixel((0, 0), 0)
    second = Image.new("L", (2, 1), 99)
    content = encoded(
        first, "GIF", save_all=True, append_images=[second], transparency=0
    )
    np.testing.assert_array_equal(read(content, 1, 2)[0], [[0, 0, 0], [10, 200, 30]])


def profile_with_swapped_colors():
    """Return an sRGB profile with red and blue swapped."""
    profile = bytearray(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_color_profiles_are_converted_to_srgb(kind):
    image = Image.fromarray(game_video()[0])
    content = encoded(image, kind, icc_profile=profile_with_swapped_colors())
    assert mean_error(read(content), game_video()[0][..., ::-1]) < 4


def test_color_profile_keeps_transparency():
    pixels = np.full((1, 3, 4), (250, 20, 30, 255), "uint8")
    pixels[0, :, 3] = 0, 128, 255
    image = Image.fromarray(pixels)
    content = encoded(image, "PNG", icc_profile=profile_with_swapped_colors())
    expected = [[0, 0, 0], [15, 10, 125], [30, 20, 250]]
    np.testing.assert_allclose(read(content, 1, 3)[0], expected, atol=2)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
@pytest.mark.parametrize(
    "profile", [b"no profile", profile_with_swapped_colors()[:200]]
)
def test_damaged_profile_is_ignored(mode, profile):
    content = encoded(Image.new(mode, (4, 4)), "PNG", icc_profile=profile)
    assert not read(content, 4, 4).any()


def test_damaged_exif_data_are_ignored():
    image = Image.fromarray(game_video()[0])
    content = encoded(image, "JPEG", exif=b"Exif\0\0nothing", quality=95)
    assert mean_error(read(content), game_video()[0]) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation):
    """Store the same image in each EXIF orientation."""
    upright = game_video()[0]
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    for kind in ("PNG", "JPEG"):
        photo = encoded(image, kind, exif=exif, quality=95)
        assert mean_error(read(photo, 48, 64), upright) < 4


def test_large_photos_are_averaged():
    """Check a checkerboard of single pixels, which a frame can only show as its mean."""
    pixels = np.indices((640, 640)).sum(axis=0) % 2 * 200
    photo = encoded(Image.fromarray(pixels.astype("uint8")), "PNG")
    frame = read(photo, 64, 64)
    assert np.abs(frame.astype(int) - 100).max() <= 1


def test_crop_keeps_middle():
    """Check five stripes: a square crop keeps the middle three."""
    wide = np.zeros((60, 100, 3), "uint8")
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    for index, color in enumerate(colors):
        wide[:, 20 * index : 20 * index + 20] = color
    for stripes, turn in ((wide, 0), (np.rot90(wide), 1)):
        photo = encoded(Image.fromarray(np.ascontiguousarray(stripes)), "PNG")
        for height, width in ((30, 30), (60, 60), (120, 120)):
            frame = read(photo, height, width)
            row = np.rot90(frame, -turn)[height // 2]
            third = width // 3
            centers = row[[third // 2, third + third // 2, 2 * third + third // 2]]
            np.testing.assert_array_equal(centers, colors[1:4])


@pytest.mark.parametrize(
    ("size", "scaled", "corner"),
    [
        ((100, 50), (64, 32), (0, 16)),
        ((50, 100), (32, 64), (16, 0)),
        ((16, 8), (64, 32), (0, 16)),
        ((64, 64), (64, 64), (0, 0)),
        ((1000, 1), (64, 1), (0, 31)),
    ],
)
def test_pad_keeps_complete_image_on_black(size, scaled, corner):
    photo = encoded(Image.new("RGB", size, (90, 200, 30)), "PNG")
    frame = read(photo, 64, 64, fit="pad")
    expected = np.zeros((64, 64, 3), "uint8")
    (left, top), (width, height) = corner, scaled
    expected[top : top + height, left : left + width] = (90, 200, 30)
    np.testing.assert_array_equal(frame, expected)


def test_fits_equal_pillow():
    """Compare with the same resizing and cropping done manually."""
    image = Image.fromarray(game_video()[0])
    method = Image.Resampling.LANCZOS
    cut = image.resize((24, 24), method, box=(8, 0, 56, 48))
    frame = read(encoded(image, "PNG"), 24, 24)
    np.testing.assert_array_equal(frame, cut)
    frame = read(encoded(image, "PNG"), 24, 24, fit="pad")
    np.testing.assert_array_equal(frame[3:21], image.resize((24, 18), method))
    assert not frame[:3].any() and not frame[21:].any()


def test_transparent_pixels_leave_no_color():
    pixels = np.full((64, 64, 4), (255, 0, 0, 0), "uint8")
    pixels[:, 32:] = (0, 0, 255, 255)
    photo = encoded(Image.fromarray(pixels), "PNG")
    for fit in FITS:
        assert not read(photo, 16, 16, fit)[..., 0].any()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_truncated_images_are_rejected(kind):
    content = encoded(Image.fromarray(game_video()[0]), kind)
    for length in (0, 1, 10, 30, len(content) // 2, len(content) - 30):
        assert_unreadable(content[:length])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_damaged_images_are_read_or_rejected(kind):
    content = encoded(Image.fromarray(game_video()[0]), kind)
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = np.frombuffer(content, "uint8").copy()
        damaged[rng.integers(len(content), size=4)] = rng.integers(256, size=4)
        with contextlib.suppress(ValueError):
            frame = read(damaged.tobytes(), 8, 8)
            assert frame.shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "PPM"])
def test_other_formats_are_rejected(kind):
    assert_unreadable(encoded(Image.fromarray(game_video()[0]), kind))


@pytest.mark.parametrize(
    "size", [(8001, 5000), (10_000, 9_500), (2**31 - 1, 2**31 - 1), (1, 65_536)]
)
def test_too_many_pixels_are_not_decoded(size, recwarn):
    gif = bytearray(encoded(Image.new("L", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", *(min(side, 65_535) for side in size))
    headers = [png(*size, 8, 2, [])] + [bytes(gif)] * (min(size) > 1)
    for header in headers:
        with pytest.raises(ValueError) as error:
            read(header, 8, 8)
        assert str(error.value) == (
            "it has more than 40 million pixels, or a side of more than 65,535"
        )
    assert not recwarn.list


def test_largest_images_are_read():
    image = Image.new("1", (8000, 5000), 1)
    frame = read(encoded(image, "PNG"), 8, 8)
    np.testing.assert_array_equal(frame, np.full((8, 8, 3), 255))
