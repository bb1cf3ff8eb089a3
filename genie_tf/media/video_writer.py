"""Writing of videos as GIF, MP4, or PNG with the frames side by side."""

import fractions
import importlib.util
import io
import pathlib

import numpy as np
from PIL import Image

from genie_tf.files import check_file, write_file
from genie_tf.media.image_writer import save_strip
from genie_tf.pixels import video_to_bytes

_MP4_NEEDS = "Writing MP4 needs PyAV: pip install genie_tf[mp4]."


def save_video(path, video, fps: float = 10):
    """Write a video in the format of its file extension.

    Args:
        path: name of the file, ending in .gif, .mp4 or .png (frames side by side).
        video: (time, height, width, 3).
        fps: frames per second; not used for PNG.

    Raises:
        ValueError: if the extension is unknown, or the video has another shape or type.

    Example:
        save_video("world.gif", np.zeros((8, 64, 64, 3), "uint8"), fps=10)
    """
    check_video_path(path)
    suffix = pathlib.Path(path).suffix.lower()
    if suffix == ".gif":
        save_gif(path, video, fps)
    elif suffix == ".mp4":
        save_mp4(path, video, fps)
    else:
        save_strip(path, video)


def check_video_path(path):
    """Check that `save_video` can write a file, before making its video.

    Args:
        path: name of the file.

    Raises:
        ValueError: if the name does not end in .gif, .mp4 or .png, MP4 needs a package
            that is not installed, or the path exists and is not a file.
    """
    suffix = check_file(path).suffix.lower()
    if suffix not in (".gif", ".mp4", ".png"):
        raise ValueError(
            f"A video's file name must end in .gif, .mp4 or .png; received {path}."
        )
    if suffix == ".mp4" and not importlib.util.find_spec("av"):
        raise ValueError(_MP4_NEEDS)


def save_gif(path, video, fps: float = 10):
    """Write a GIF that loops forever, with 256 colors chosen for each frame.

    A frame equal to the previous one extends that frame's duration.

    Args:
        path: name of the file.
        video: (time, height, width, 3).
        fps: frames per second, in (0, 50]; browsers slow down faster GIFs.

    Raises:
        ValueError: if the video has another shape or type, or `fps` is out of range.
    """
    if not 0 < fps <= 50:
        raise ValueError(f"A GIF's `fps` must be in (0, 50]; received {fps}.")
    frames = [Image.fromarray(frame) for frame in video_to_bytes(video)]
    # A GIF has a resolution of 1/100 s. Rounding start times instead of durations keeps
    # the average speed right.
    begin = np.round(np.arange(len(frames) + 1) * 100 / fps).astype(int)
    content = io.BytesIO()
    frames[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[10 * int(ticks) for ticks in np.diff(begin)],
        loop=0,
    )
    write_file(path, content.getbuffer())


def save_mp4(path, video, fps: float = 10):
    """Write an H.264 video that browsers play; an odd height or width is padded by 1.

    Args:
        path: name of the file.
        video: (time, height, width, 3).
        fps: frames per second, in [0.001, 1000].

    Raises:
        ImportError: if PyAV is not installed.
        ValueError: if the video has another shape or type, or `fps` is out of range.
    """
    if not 0.001 <= fps <= 1000:
        raise ValueError(f"An MP4's `fps` must be in [0.001, 1000]; received {fps}.")
    video = video_to_bytes(video)
    try:
        import av
    except ImportError as error:
        raise ImportError(_MP4_NEEDS) from error
    # Chroma subsampling needs even sizes.
    odd = [(0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)]
    video = np.pad(video, odd, mode="edge")
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        rate = fractions.Fraction(float(fps)).limit_denominator(10_000)
        stream = container.add_stream("libx264", rate, options={"crf": "5"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Declare BT.709 colors; otherwise players guess.
        for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, name, 1)
        for pixels in video:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    write_file(path, content.getbuffer())
