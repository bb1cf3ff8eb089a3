"""Reads the frames of video files as FFmpeg shows them, and makes them small.

`decoder_process` runs this in processes of their own: files that are damaged on purpose
can crash FFmpeg.
"""

import os
from collections.abc import Iterator

import av
import numpy as np
from PIL import Image

from genie_tf.media.image_reader import fit_image
from genie_tf.pixels import to_bytes

# Frames a second of a file that does not tell.
_USUAL_RATE = 25
# The display matrix of frames without one.
_UPRIGHT = np.eye(3, dtype=np.int32)
_MAX_THREADS = 4  # Each holds a frame of the video's size.
# FFmpeg's own decoders of these leave transparency out.
_DECODERS_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# One for all frames: each would otherwise start threads of its own.
_REFORMATTER = av.video.reformatter.VideoReformatter()
# Numbers of H.273.
_PQ, _HLG = 16, 18
_BT2020_LUMA = np.array([0.2627, 0.678, 0.0593])
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def read_frames(
    path: str | os.PathLike, container: str, height: int, width: int
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield the frames of a video file, resized and cut off evenly on both sides.

    They are turned, mirrored and stretched as the file says, HDR is converted to sRGB,
    and what is transparent is black.

    Args:
        path: name of the file.
        container: FFmpeg's name of its format; others are refused.
        height, width: size of the frames, in pixels.

    Yields:
        Time at which the frame appears and how long it is shown, in seconds, and its
        pixels, uint8 (height, width, 3).

    Raises:
        ValueError: after the last frame, if there are fewer of them than there should
            be. The text is a part of a sentence.
    """
    # Some containers name further files, which FFmpeg must not open.
    options = {"format_whitelist": container, "protocol_whitelist": "none"}
    number, failures = 0, []
    try:
        with (
            open(path, "rb") as file,
            av.open(file, options=options, metadata_errors="replace") as opened,
        ):
            stream = opened.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise ValueError("it has no pictures, or their codec is not known")
            decoder = _open_decoder(stream)
            pixel_aspect = float(stream.sample_aspect_ratio or 1)
            usual_time = 1 / float(stream.guessed_rate or _USUAL_RATE)
            for packet in opened.demux(stream):
                if not packet.size and packet.dts is not None:
                    continue  # The frame before is to stay.
                try:
                    frames = decoder.decode(packet)
                except av.FFmpegError as error:
                    failures.append(error.strerror)
                    continue
                for frame in frames:
                    # Some files tell no times, only how many frames a second there are.
                    time = frame.time
                    if time is None:
                        time = number * usual_time
                    seconds = float((frame.duration or 0) * (frame.time_base or 0))
                    pixels = _show(frame, pixel_aspect, height, width)
                    yield time, seconds or usual_time, pixels
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


def _show(
    frame: av.VideoFrame, pixel_aspect: float, height: int, width: int
) -> np.ndarray:
    """The pixels of a frame as uint8 (height, width, 3), as a screen shows them."""
    a, b, _, c, d = np.frombuffer(
        frame.side_data.get("DISPLAYMATRIX", _UPRIGHT), np.int32
    ).tolist()[:5]
    straight, turned = abs(a) + abs(d), abs(b) + abs(c)
    if min(straight, turned) > 0.02 * max(straight, turned):
        raise ValueError("it is to be turned by less than a right angle")
    if turned > straight:
        pixels = _resize(frame, pixel_aspect, width, height).swapaxes(0, 1)
        a, d = c, b
    else:
        pixels = _resize(frame, pixel_aspect, height, width)
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _resize(
    frame: av.VideoFrame, pixel_aspect: float, height: int, width: int
) -> np.ndarray:
    """The pixels of a frame that covers a size, in sRGB and without transparency."""
    shown_width = frame.width * pixel_aspect
    if frame.format.has_palette or any(x.is_alpha for x in frame.format.components):
        image = Image.fromarray(_to_pixels(frame, "rgba"))
        image = image.resize((max(1, round(shown_width)), frame.height))
        return fit_image(image, height, width)
    scale = max(height / frame.height, width / shown_width)
    tall, wide = round(frame.height * scale), round(shown_width * scale)
    pixels = _to_pixels(frame, "rgb", width=wide, height=tall, interpolation="AREA")
    top, left = (tall - height) // 2, (wide - width) // 2
    return pixels[top : top + height, left : left + width]


def _to_pixels(frame: av.VideoFrame, channels: str, **size) -> np.ndarray:
    """The pixels of a frame as uint8, in sRGB."""
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
    """Convert colors of ITU-R BT.2100, in [0, 1]; white is 203 nits, by BT.2408."""
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
