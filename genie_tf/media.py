"""Videos as files that people look at: GIF, PNG and MP4; grids, curves, prompts.

A video is uint8, or float in [0, 1], (time, height, width, 3); floats are clipped.
Files are written whole or not at all, and raise OSError if that fails, such as on a full
disk. Folders are created where needed.
"""

import fractions
import importlib.util
import io
import numbers
import os
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genie_tf.decoding import MAX_PROMPT_BYTES, decode_prompt_image
from genie_tf.files import check_file, local_path, open_regular, replacing
from genie_tf.pictures import FITS as FITS

_GAP = 2  # White pixels between the cells of a grid.
_MP4_NEEDS = "Writing MP4 needs PyAV: pip install genie_tf[mp4]."
_HEADING = 14  # Pixels above it for the names of its columns.


def save_video(path, video, fps: float = 10):
    """Writes a video as its file name says: .gif, .mp4, or .png, frames side by side.

    Args:
        path: name of the file, ending in .gif, .mp4 or .png.
        video: (time, height, width, 3).
        fps: frames per second; a PNG has none.

    Raises:
        ValueError: if the name ends otherwise, or the video has another form.
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
    """Tells before the work is done whether `save_video` can write it.

    Args:
        path: name of the file.

    Raises:
        ValueError: if the name does not end in .gif, .mp4 or .png, MP4 needs a package
            that is not installed, or something else than a file has that name.
    """
    suffix = check_file(path).suffix.lower()
    if suffix not in (".gif", ".mp4", ".png"):
        raise ValueError(
            f"A video's file name must end in .gif, .mp4 or .png; received {path}."
        )
    if suffix == ".mp4" and not importlib.util.find_spec("av"):
        raise ValueError(_MP4_NEEDS)


def save_gif(path, video, fps: float = 10):
    """Writes a GIF that plays for ever, with 256 colors chosen for each frame.

    Frames that repeat the one before are stored as a longer stay of that one.

    Args:
        path: name of the file.
        video: (time, height, width, 3).
        fps: frames per second, in (0, 50]: browsers slow down what is faster.

    Raises:
        ValueError: if the video has another form, or `fps` is out of range.
    """
    if not 0 < fps <= 50:
        raise ValueError(f"A GIF's `fps` must be in (0, 50]; received {fps}.")
    frames = [Image.fromarray(frame) for frame in _to_bytes(video)]
    # A GIF counts in 1/100 s; rounding when frames begin, not how long they stay,
    # keeps the speed right on average.
    begin = np.round(np.arange(len(frames) + 1) * 100 / fps).astype(int)
    content = io.BytesIO()
    frames[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[10 * int(stay) for stay in np.diff(begin)],
        loop=0,
    )
    _write(path, content)


def save_strip(path, video):
    """Writes the frames of a video side by side, as a PNG.

    Args:
        path: name of the file.
        video: (time, height, width, 3).

    Raises:
        ValueError: if the video has another form.
    """
    _save_png(path, np.concatenate(list(_to_bytes(video)), axis=1))


def save_mp4(path, video, fps: float = 10):
    """Writes an H.264 video that browsers play; an odd height or width is padded by 1.

    Args:
        path: name of the file.
        video: (time, height, width, 3).
        fps: frames per second, in [0.001, 1000].

    Raises:
        ImportError: if PyAV is not installed.
        ValueError: if the video has another form, or `fps` is out of range.
    """
    if not 0.001 <= fps <= 1000:
        raise ValueError(f"An MP4's `fps` must be in [0.001, 1000]; received {fps}.")
    video = _to_bytes(video)
    try:
        import av
    except ImportError as error:
        raise ImportError(_MP4_NEEDS) from error
    # Color is stored at half the resolution, which needs even sizes.
    odd = [(0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)]
    video = np.pad(video, odd, mode="edge")
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        rate = fractions.Fraction(float(fps)).limit_denominator(10_000)
        stream = container.add_stream("libx264", rate, options={"crf": "5"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Says that colors are those of BT.709; players guess otherwise.
        for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, name, 1)
        for pixels in video:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    _write(path, content)


def grid(rows, labels=None, scale: int = 4, columns=None):
    """Puts clips side by side and above each other, enlarged, for a person to compare.

    Args:
        rows: one entry per row of the grid: a video, or a list of videos; all videos
            of one shape, all rows of one length.
        labels: one text per row, written on its left; none if not given.
        scale: how many pixels wide a pixel becomes.
        columns: one text per column, written above it; none if not given.

    Returns:
        One video: uint8 (time, grid height, grid width, 3).

    Raises:
        ValueError: if the videos, rows or labels do not fit each other, or `scale` is
            not a positive integer.
    """
    if scale < 1 or scale != int(scale):
        raise ValueError(f"`scale` must be a positive integer; received {scale}.")
    rows = [[row] if getattr(row, "ndim", None) == 4 else list(row) for row in rows]
    rows = [[_to_bytes(video) for video in row] for row in rows]
    lengths = [len(row) for row in rows]
    shapes = list(dict.fromkeys(video.shape for row in rows for video in row))
    if len(set(lengths)) != 1 or len(shapes) != 1:
        raise ValueError(
            "A grid needs rows of one length, of videos of one shape; received rows "
            f"of {lengths} videos, of shapes {', '.join(map(str, shapes))}."
        )
    if labels is not None and len(labels) != len(rows):
        raise ValueError(
            f"A grid needs one label per row; received {len(labels)} labels for "
            f"{len(rows)} rows."
        )
    if columns is not None and len(columns) != lengths[0]:
        raise ValueError(
            f"A grid needs one text per column; received {len(columns)} for "
            f"{lengths[0]} columns."
        )
    height, width = (scale * side for side in shapes[0][1:3])
    margin = _margin(labels)
    above = 0 if columns is None else _HEADING
    canvas = Image.new(
        "RGB",
        (
            margin + len(rows[0]) * (width + _GAP) - _GAP,
            above + len(rows) * (height + _GAP) - _GAP,
        ),
        "white",
    )
    for index, label in enumerate(columns or ()):
        middle = margin + index * (width + _GAP) + width // 2
        ImageDraw.Draw(canvas).text(
            (middle, above // 2), str(label), "black", _font(), anchor="mm"
        )
    for index, label in enumerate(labels or ()):
        middle = above + index * (height + _GAP) + height // 2
        ImageDraw.Draw(canvas).text(
            (margin // 2, middle), str(label), "black", _font(), anchor="mm"
        )
    video = np.repeat(np.asarray(canvas)[None], shapes[0][0], axis=0)
    for index, row in enumerate(rows):
        for column, clip in enumerate(row):
            top = above + index * (height + _GAP)
            left = margin + column * (width + _GAP)
            video[:, top : top + height, left : left + width] = clip.repeat(
                scale, axis=1
            ).repeat(scale, axis=2)
    return video


def save_image_grid(path, rows, labels=None, scale: int = 4, columns=None):
    """Writes rows of images, such as frames and their reconstructions, as a PNG.

    Args:
        path: name of the file.
        rows: one entry per row: images (images, height, width, 3), uint8, or float in
            [0, 1]; all rows of one shape.
        labels: one text per row, written on its left; none if not given.
        scale: how many pixels wide a pixel becomes.
        columns: one text per column, written above it; none if not given.

    Raises:
        ValueError: if the rows or labels do not fit each other, or `scale` is not a
            positive integer.
    """
    rows = [[image[None] for image in _to_bytes(row)] for row in rows]
    _save_png(path, grid(rows, labels, scale, columns)[0])


def load_prompt_image(source, height: int, width: int, fit: str = "crop"):
    """Reads a picture of any size as the frame that a world starts from.

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


def plot_curves(path, records, keys=None):
    """Draws one small plot per metric over the steps of a training run.

    Args:
        path: name of the image file; .png, .svg or .pdf.
        records: dicts with `step` and metrics, such as the lines of `metrics.jsonl`;
            a record may lack some metrics.
        keys: which metrics; all that are numbers if not given.

    Raises:
        ValueError: if a metric, or any metric at all, is in no record.
    """
    known = dict.fromkeys(
        key
        for record in records
        for key, value in record.items()
        if key != "step" and isinstance(value, numbers.Real)
    )
    keys = list(known) if keys is None else list(keys)
    missing = [key for key in keys if key not in known]
    if missing or not keys:
        raise ValueError(
            f"No record has {', '.join(missing) or 'any metric'}; the records have "
            f"{', '.join(known) or 'none'}."
        )
    from matplotlib.figure import Figure  # Without pyplot, hence without global state.

    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    for index, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, index + 1)
        points = [(record["step"], record[key]) for record in records if key in record]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None)
        axes.set_title(key, fontsize="medium")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format=pathlib.Path(path).suffix[1:] or "png")
    _write(path, content)


def _to_bytes(video):
    """A video as uint8 (time, height, width, 3), once it is found to be one."""
    video = np.asarray(video)
    is_pixels = video.dtype == "uint8" or video.dtype.kind == "f"
    if not is_pixels or video.ndim != 4 or video.shape[-1] != 3 or not video.size:
        raise ValueError(
            "A video must be uint8, or float in [0, 1], of shape (time, height, width, "
            f"3); received {video.dtype} of shape {video.shape}."
        )
    if video.dtype == "uint8":
        return video
    if not np.isfinite(video).all():
        raise ValueError("A video must have finite numbers; received others.")
    return np.round(np.clip(video, 0, 1) * 255).astype("uint8")


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


def _save_png(path, image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    _write(path, content)


def _write(path, content: io.BytesIO):
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(content.getbuffer())
        except OSError as error:
            # Of the file that was asked for, not of the temporary one.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _font():
    return ImageFont.load_default()


def _margin(labels):
    """Width of the column of labels, in pixels."""
    if labels is None:
        return 0
    return int(max(_font().getlength(str(label)) for label in labels)) + 8
