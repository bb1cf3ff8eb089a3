"""Tests of video reading, one display property at a time.

Expected values come from the standards and from FFmpeg's filters.
"""

import os
import struct
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from genie_tf.media import video_reader
from genie_tf.media.video_reader import read_frames

CONTAINERS = {"mp4": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska"}
RED, GREEN, BLUE, GRAY = (200, 30, 30), (30, 180, 30), (40, 40, 200), (128, 128, 128)


def read(path, height=8, width=8):
    container = CONTAINERS.get(path.suffix[1:], path.suffix[1:])
    return list(read_frames(path, container, height, width))


def write(path, frames, codec="libx264", pixels="yuv420p", options=None, **context):
    """Encode PyAV frames at 10 fps; `context` sets display properties."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = pixels
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for number, frame in enumerate(frames):
            if frame.format.name != pixels:
                frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def quarters(height=64, width=64):
    """Return an image with red and green above, blue and gray below."""
    rows = np.array([[RED, GREEN], [BLUE, GRAY]], np.uint8)
    return rows.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def quarter_colors(frame):
    """Return the colors of the four quarters of a frame."""
    height, width = frame.shape[0] // 4, frame.shape[1] // 4
    return frame[height :: 2 * height, width :: 2 * width].astype(int)


def rgb_frames(pixels, number=3):
    return [av.VideoFrame.from_ndarray(pixels, "rgb24") for _ in range(number)]


def yuv_frames(values, pixels="yuv420p", number=3):
    """Return frames of one color, given by its stored values."""
    frames = []
    for _ in range(number):
        frame = av.VideoFrame(64, 64, pixels)
        for plane, value in zip(frame.planes, values, strict=True):
            size = "<u2" if "10" in pixels else "u1"
            count = plane.buffer_size // np.dtype(size).itemsize
            plane.update(np.full(count, value, size).tobytes())
        frames.append(frame)
    return frames


# All rotations and mirrorings: stored (x, y) is displayed at (ax + cy, bx + dy), shifted.
@pytest.mark.parametrize(
    "matrix",
    [
        *[(a, 0, 0, d) for a in (1, -1) for d in (1, -1)],
        *[(0, b, c, 0) for b in (1, -1) for c in (1, -1)],
    ],
)
def test_display_matrix_is_applied(tmp_path, matrix):
    path = write(tmp_path / "a.mp4", rgb_frames(quarters(64, 32)))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    height, width = (64, 32) if matrix[0] else (32, 64)
    _, _, frame = read(path, height, width)[0]
    a, b, c, d = matrix
    for y, row in enumerate([[RED, GREEN], [BLUE, GRAY]]):
        for x, color in enumerate(row):
            # Relative to the center, a quarter is at -1 or 1.
            right = a * (2 * x - 1) + c * (2 * y - 1) > 0
            below = b * (2 * x - 1) + d * (2 * y - 1) > 0
            assert (
                np.abs(quarter_colors(frame)[int(below), int(right)] - color).max() < 8
            )


def test_other_rotations_are_rejected(tmp_path):
    path = write(tmp_path / "a.mp4", rgb_frames(quarters()))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(
        ">9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30
    )
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="^its rotation is not a multiple of 90 degrees"
    ):
        read(path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(64, 45)])
def test_pixel_aspect_is_applied(tmp_path, codec, aspect):
    """Check that a squeezed circle is displayed round."""
    y, x = np.mgrid[-63.5:64:1, -63.5:64:1]
    stored = (np.hypot(x * float(aspect), y) < 30).astype(np.uint8) * 255
    frames = rgb_frames(np.stack([stored] * 3, -1))
    path = write(tmp_path / "a.mp4", frames, codec, sample_aspect_ratio=aspect)
    _, _, frame = read(path, 64, 64)[0]
    white = frame[..., 0] > 128
    height, width = (
        np.ptp(np.flatnonzero(white.any(1))),
        np.ptp(np.flatnonzero(white.any(0))),
    )
    assert abs(int(height) - int(width)) <= 2
    assert height == pytest.approx(60 * 64 / (128 * min(1, float(aspect))), abs=3)


# Kr and Kb by number of the color space in H.273.
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("space", LUMA)
@pytest.mark.parametrize(("bits", "full_range"), [(8, False), (8, True), (10, False)])
@pytest.mark.parametrize("color", [RED, GREEN, BLUE, GRAY])
def test_color_spaces_and_ranges_are_converted(
    tmp_path, space, full_range, bits, color
):
    kr, kb = LUMA[space]
    r, g, b = np.array(color) / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    luma, chroma, black = (255, 255, 0) if full_range else (219, 224, 16)
    values = [
        black + luma * y,
        128 + chroma * (b - y) / (2 - 2 * kb),
        128 + chroma * (r - y) / (2 - 2 * kr),
    ]
    pixels = "yuv420p" if bits == 8 else "yuv420p10le"
    values = [round(value * 2 ** (bits - 8)) for value in values]
    path = write(
        tmp_path / "a.mp4",
        yuv_frames(values, pixels),
        pixels=pixels,
        colorspace=space,
        color_range=2 if full_range else 1,
    )
    _, _, frame = read(path)[0]
    assert np.abs(frame[4, 4].astype(int) - color).max() <= 3


def pq(nits):
    """Encode light by SMPTE ST 2084."""
    y = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(nits):
    """Encode light by ARIB STD-B67, for a display of 1,000 nits."""
    light = (nits / 1000) ** (1 / 1.2)
    if light <= 1 / 12:
        return (3 * light) ** 0.5
    return 0.17883277 * np.log(12 * light - 0.28466892) + 0.55991073


@pytest.mark.parametrize(("transfer", "encode"), [(16, pq), (18, hlg)])
@pytest.mark.parametrize("nits", [10, 50, 100, 203, 1000])
def test_hdr_becomes_srgb(tmp_path, transfer, encode, nits):
    """Check grays of known light; white is 203 nits (ITU-R BT.2408)."""
    path = write(
        tmp_path / "a.mp4",
        yuv_frames([round(64 + 876 * encode(nits)), 512, 512], "yuv420p10le"),
        pixels="yuv420p10le",
        colorspace=9,
        color_primaries=9,
        color_trc=transfer,
        color_range=1,
    )
    light = min(1, nits / 203)
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    _, _, frame = read(path)[0]
    assert np.abs(frame[4, 4] - expected).max() <= 3


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (16, [[126, 81, 59], [64, 52, 149], [191, 162, 117], [27, 28, 46]]),
        (18, [[113, 91, 77], [80, 70, 117], [140, 130, 114], [45, 46, 60]]),
    ],
)
def test_hdr_colors_equal_ffmpeg(transfer, expected):
    """Compare with FFmpeg 8.0, converting to sRGB and its primaries."""
    colors = [[0.4, 0.35, 0.3], [0.31, 0.28, 0.45], [0.5, 0.48, 0.42], [0.2, 0.2, 0.25]]
    actual = 255 * video_reader._hdr_to_srgb(np.array(colors), transfer)
    np.testing.assert_allclose(actual, expected, atol=0.6)


def test_unknown_color_matrix_is_reported(tmp_path):
    path = write(tmp_path / "a.mp4", yuv_frames([99, 99, 99]), colorspace=14)
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value) == (
        "its frames cannot be converted to RGB (color matrix 14 of H.273; Operation not "
        "supported)"
    )


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
        ("a.webm", "libvpx-vp9", "yuva420p", {}),
        ("a.mov", "qtrle", "argb", {}),
        ("a.mov", "png", "rgba", {}),
        ("a.mov", "prores_ks", "yuva444p10le", {}),
        ("a.mkv", "ffv1", "yuva420p", {}),
    ],
)
def test_transparent_pixels_become_black(tmp_path, name, codec, pixels, options):
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[...] = (200, 100, 50, 255)
    rgba[:32, 32:, 3] = 0
    rgba[32:, :, 3] = 128
    frames = [av.VideoFrame.from_ndarray(rgba, "rgba") for _ in range(3)]
    result = read(write(tmp_path / name, frames, codec, pixels, options), 64, 64)
    assert len(result) == 3
    expected = [[(200, 100, 50), (0, 0, 0)], [(100, 50, 25), (100, 50, 25)]]
    assert np.abs(quarter_colors(result[2][2]) - expected).max() <= 4


def test_gif_equals_pillow(tmp_path):
    """Check frames that partly replace or clear others, with a transparent color."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(8):
        frame = Image.fromarray(rng.integers(4, size=(16, 16), dtype=np.uint8), "P")
        frame.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        frames.append(frame)
    first, *others = frames
    for disposal in (0, 1, 2, 3):
        path = tmp_path / "a.gif"
        first.save(
            path,
            save_all=True,
            append_images=others,
            transparency=0,
            disposal=disposal,
            duration=[100, 300, 20, 0, 50, 40, 1000, 500],
        )
        frames = read(path, 16, 16)
        with Image.open(path) as gif:
            for number, (_, _, pixels) in enumerate(frames):
                gif.seek(number)
                image = gif.convert("RGBA")
                black = Image.new("RGBA", image.size, "black")
                expected = Image.alpha_composite(black, image).convert("RGB")
                np.testing.assert_array_equal(pixels, expected)
        times = [(round(time, 3), round(seconds, 3)) for time, seconds, _ in frames]
        assert times[:3] == [(0, 0.1), (0.1, 0.3), (0.4, 0.02)]
        # Players display a frame without a duration for a tenth of a second.
        assert times[3:5] == [(0.42, 0.1), (0.52, 0.05)]
        assert times[-1][1] == 0.5


def test_irregular_frame_times_are_kept(tmp_path):
    starts = [0, 1, 3, 10, 11]
    for name in ("a.mp4", "a.mkv"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for start, frame in zip(starts, rgb_frames(quarters(), 5), strict=True):
                frame.pts, frame.time_base = start, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        times = [time for time, _, _ in read(tmp_path / name)]
        np.testing.assert_allclose(times, np.divide(starts, 10))


def test_memory_is_that_of_small_frames(tmp_path):
    """Check that no full-size RGB frame is held in memory."""
    path = write(tmp_path / "a.mp4", rgb_frames(quarters(720, 1280)))
    tracemalloc.start()
    assert len(read(path)) == 3
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_frames_leave_no_threads(tmp_path):
    """Threads take memory, which is limited per process."""
    path = write(tmp_path / "a.mp4", rgb_frames(quarters(), 30))
    frames = read_frames(path, "mov", 8, 8)
    kept = [next(frames) for _ in range(5)]
    threads = len(os.listdir("/proc/self/task"))
    kept += list(frames)
    assert len(kept) == 30
    assert len(os.listdir("/proc/self/task")) <= threads


def damaged(path, *numbers):
    """Overwrite frames with zeros in a video that has only key frames."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(x.pos, bytes(x)) for x in container.demux(video=0) if x.size]
    for number in numbers:
        position, packet = packets[number]
        place = content.index(packet, position)
        content[place : place + len(packet)] = bytes(len(packet))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mkv", "libx264", "yuv420p"),
    ],
)
def test_damaged_frame_costs_only_itself(tmp_path, name, codec, pixels):
    path = write(tmp_path / name, rgb_frames(quarters(), 20), codec, pixels, {"g": "1"})
    damaged(path, 7, 13)
    frames = read_frames(path, CONTAINERS.get(name[2:], "avi"), 8, 8)
    times = []
    with pytest.raises(
        ValueError, match="^2 of its frames cannot be decoded .Invalid "
    ):
        times.extend(round(10 * time) for time, _, _ in frames)
        times.extend(frames)
    assert times == [x for x in range(20) if x not in (7, 13)]


@pytest.mark.parametrize(
    ("name", "codec", "tag"),
    [
        ("a.avi", "mpeg4", b"FMP4"),
        ("a.mp4", "libx264", b"avc1"),
        ("a.mkv", "libx264", b"V_MPEG4/ISO/AVC"),
    ],
)
def test_unknown_codec_is_reported(tmp_path, name, codec, tag):
    path = write(tmp_path / name, rgb_frames(quarters()), codec)
    content = path.read_bytes().replace(tag, b"Z" * len(tag))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^it has no video, or its codec is unknown"):
        read(path)


def test_cover_image_is_not_read(tmp_path):
    """Check a cover image that comes first in the file, as stores and phones add it."""
    cover = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255, np.uint8), "rgb24")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover_stream = container.add_stream("png", rate=1)
        cover_stream.width = cover_stream.height = 64
        cover_stream.pix_fmt = "rgb24"
        cover_stream.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(cover_stream.encode(cover))
        for frame in rgb_frames(quarters()):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert len(read(tmp_path / "a.mp4")) == 3
