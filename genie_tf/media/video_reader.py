"""Reading of video files as small frames, as a video player would display them.

`decoder_process` runs this code in separate processes: maliciously damaged files can
crash FFmpeg.
"""

import os
from collections.abc import Iterator

import av
import numpy as np
from PIL import Image

from genie_tf.media.image_reader import fit_image
from genie_tf.pixels import to_bytes

_DEFAULT_RATE = 25  # Frames per second if a file does not specify them.
_UPRIGHT = np.eye(3, dtype=np.int32)  # Default display matrix.
_MAX_THREADS = 4  # Each holds a full-size frame.
# FFmpeg's own decoders of these codecs ignore transparency.
_DECODERS_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Shared by all frames: otherwise each frame would start its own threads.
_REFORMATTER = av.video.reformatter.VideoReformatter()
# Transfer characteristics in ITU-T H.273.
_PQ, _HLG = 16, 18
_BT2020_LUMA = np.array([0.2627, 0.678, 0.0593])
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def read_frames(
    path: str | os.PathLike, container: str, height: int, width: int
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield the frames of a video file, scaled and center-cropped.

    Frames are rotated, mirrored and stretched as the file specifies, HDR is converted to
    sRGB, and transparent pixels become black.

    Args:
        path: name of the file.
        container: FFmpeg's name of the container format; any other is rejected.
        height, width: size of the frames, in pixels.

    Yields:
        The frame's time and duration, in seconds, and its pixels,
        uint8 (height, width, 3).

    Raises:
        ValueError: after the last readable frame, if others cannot be read. The message
            is a clause without a period.
    """
    # Some containers refer to other files, which FFmpeg must not open.
    options = {"format_whitelist": container, "protocol_whitelist": "none"}
    number, failures = 0, []
    try:
        with (
            open(path, "rb") as file,
            av.open(file, options=options, metadata_errors="replace") as opened,
        ):
            stream = opened.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise ValueError("it has no video, or its codec is unknown")
            decoder = _open_decoder(stream)
            pixel_aspect = float(stream.sample_aspect_ratio or 1)
            default_duration = 1 / float(stream.guessed_rate or _DEFAULT_RATE)
            for packet in opened.demux(stream):
                if not packet.size and packet.dts is not None:
                    continue  # An empty packet repeats the previous frame.
                try:
                    frames = decoder.decode(packet)
                except av.FFmpegError as error:
                    failures.append(error.strerror)
                    continue
                for frame in frames:
                    # Some files have no times, only a frame rate.
                    time = frame.time
                    if time is None:
                        time = number * default_duration
                    duration = float((frame.duration or 0) * (frame.time_base or 0))
                    pixels = _orient(frame, pixel_aspect, height, width)
                    yield time, duration or default_duration, pixels
                    number += 1
    except (av.FFmpegError, OSError) as error:
        problem = "breaks off" if number else "cannot be decoded"
        raise ValueError(f"it {problem} ({error.strerror})") from error
    if failures and not number:
        raise ValueError(f"it cannot be decoded ({failures[0]})")
    if failures:
        raise ValueError(
            f"{len(failures)} of its frames cannot be decoded ({failures[0]})"
        )


def _open_decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    decoder = stream.codec_context
    if (
        stream.metadata.get("alpha_mode") == "1"
        and decoder.name in _DECODERS_WITH_ALPHA
    ):
        decoder = av.CodecContext.create(_DECODERS_WITH_ALPHA[decoder.name], "r")
    decoder.thread_type = "AUTO"
    decoder.thread_count = min(_MAX_THREADS, os.cpu_count())
    return decoder


def _orient(
    frame: av.VideoFrame, pixel_aspect: float, height: int, width: int
) -> np.ndarray:
    """Return the displayed pixels of a frame, uint8 (height, width, 3)."""
    a, b, _, c, d = np.frombuffer(
        frame.side_data.get("DISPLAYMATRIX", _UPRIGHT), np.int32
    ).tolist()[:5]
    straight, turned = abs(a) + abs(d), abs(b) + abs(c)
    if min(straight, turned) > 0.02 * max(straight, turned):
        raise ValueError("its rotation is not a multiple of 90 degrees")
    if turned > straight:
        pixels = _resize(frame, pixel_aspect, width, height).swapaxes(0, 1)
        a, d = c, b
    else:
        pixels = _resize(frame, pixel_aspect, height, width)
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _resize(
    frame: av.VideoFrame, pixel_aspect: float, height: int, width: int
) -> np.ndarray:
    """Scale and center-crop a frame, in sRGB and without transparency."""
    display_width = frame.width * pixel_aspect
    if frame.format.has_palette or any(x.is_alpha for x in frame.format.components):
        image = Image.fromarray(_to_pixels(frame, "rgba"))
        image = image.resize((max(1, round(display_width)), frame.height))
        return fit_image(image, height, width)
    scale = max(height / frame.height, width / display_width)
    tall, wide = round(frame.height * scale), round(display_width * scale)
    pixels = _to_pixels(frame, "rgb", width=wide, height=tall, interpolation="AREA")
    top, left = (tall - height) // 2, (wide - width) // 2
    return pixels[top : top + height, left : left + width]


def _to_pixels(frame: av.VideoFrame, channels: str, **size) -> np.ndarray:
    """Return the pixels of a frame as uint8, in sRGB."""
    is_hdr = frame.color_trc in (_PQ, _HLG)
    forms = {"rgb": ("rgb24", "rgb48le"), "rgba": ("rgba", "rgba64le")}
    try:
        converted = _REFORMATTER.reformat(
            frame, format=forms[channels][is_hdr], threads=1, **size
        )
    except OSError as error:
        raise ValueError(
            "its frames cannot be converted to RGB (color matrix "
            f"{frame.colorspace} of H.273; {error.strerror})"
        ) from error
    pixels = converted.to_ndarray()
    if is_hdr:
        pixels = pixels / 65535
        pixels[..., :3] = _hdr_to_srgb(pixels[..., :3], frame.color_trc)
        pixels = to_bytes(pixels)
    return pixels


def _hdr_to_srgb(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """Convert ITU-R BT.2100 colors in [0, 1]; white is 203 nits (BT.2408)."""
    if transfer == _PQ:
        x = pixels ** (1 / 78.84375)
        light = np.maximum(x - 0.8359375, 0) / (18.8515625 - 18.6875 * x)
        nits = 10_000 * light ** (1 / 0.1593017578125)
    else:
        light = np.where(
            pixels <= 0.5,
            pixels**2 / 3,
            (np.exp((pixels - 0.55991073) / 0.17883277) + 0.28466892) / 12,
        )
        nits = 1000 * light * (light @ _BT2020_LUMA)[..., None] ** 0.2
    light = np.clip(nits / 203 @ _BT2020_TO_BT709.T, 0, 1)
    return np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
