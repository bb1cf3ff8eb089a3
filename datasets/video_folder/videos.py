"""Finds videos in a folder, and reads them as episodes of small frames.

A video is a file that PyAV decodes, or a folder of pictures, its frames.
"""

import collections
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# How FFmpeg calls the containers, by the endings of their files.
_CONTAINERS = {
    ".avi": "avi",
    ".gif": "gif",
    ".m4v": "mov",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mov",
    ".webm": "matroska",
}
_PICTURES = (".jpeg", ".jpg", ".png")

# A frame is of another scene if its difference from the frame before is more than so much,
# of 255, and so many times what it was lately. In procgen's 16 games, where each level is
# another scene, this finds 93 % of them and takes 0.2 % of the other frames for one; a
# fixed limit with as many mistakes finds 78 %.
_CUT, _CUT_RATIO = 12, 3
# What the difference was lately, as long as there is no other frame of the scene.
_USUAL_DIFFERENCE = 10
# Nothing new for so many seconds, or time that runs backwards, ends a scene as well.
_LONGEST_PAUSE = 10
# Frames a second of a file that does not tell.
_USUAL_RATE = 25
# Containers round times to milliseconds.
_TOLERANCE = 1e-3


def find_videos(folder: Path) -> tuple[list[str], list[str]]:
    """Looks for videos in a folder and all below it; hidden ones are left out.

    Args:
        folder: where to look.

    Returns:
        Names of videos, and of files that are none, relative to the folder and sorted. A
        folder of pictures is one video, of its own name.
    """
    videos, others = set(), set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        suffix = path.suffix.lower()
        if path.is_dir() or any(part.startswith(".") for part in name.parts):
            continue
        if suffix in _CONTAINERS:
            videos.add(name.as_posix())
        elif suffix in _PICTURES:
            videos.add(name.parent.as_posix())
        else:
            others.add(name.as_posix())
    return sorted(videos), sorted(others)


def split_videos(
    folder: Path, *, fps: float, height: int, width: int
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Tells which videos belong to which split, and which cannot be used.

    A tenth of the videos, and one at least, are for validation, and as many for test. A
    hash of its name decides where a video goes.

    Args:
        folder: where the videos are.
        fps, height, width: as of `read_episodes`.

    Returns:
        The names of the videos of each split, and, by the name of each file that is left
        out, why.

    Raises:
        ValueError: if fewer than three videos can be used.
    """
    videos, others = find_videos(folder)
    endings = ", ".join(sorted({*_CONTAINERS, *_PICTURES}))
    skipped = {name: f"its ending is none of {endings}" for name in others}
    usable = []
    for name in videos:
        # Some frames of each are decoded: whether it is a video shows only then.
        episodes = read_episodes(
            folder / name, fps=fps, height=height, width=width, max_steps=2
        )
        try:
            next(episodes)
            usable.append(name)
        except StopIteration:
            skipped[name] = f"no scene has two frames at {fps:g} a second"
        except ValueError as error:
            skipped[name] = str(error)
    if len(usable) < 3:
        raise ValueError(
            f"Training, validation and test need a video each, and {folder} has "
            f"{len(usable)} that can be used{_list_problems(skipped)}."
        )
    usable.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    num_held_out = max(1, len(usable) // 10)
    return {
        "train": usable[2 * num_held_out :],
        "validation": usable[:num_held_out],
        "test": usable[num_held_out : 2 * num_held_out],
    }, skipped


def _list_problems(skipped: Mapping[str, str]) -> str:
    """The first problems, to stand at the end of a sentence."""
    some = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
    return f" ({some}{'; ...' if len(skipped) > 3 else ''})" if some else ""


def read_episodes(
    path: Path, *, fps: float, height: int, width: int, max_steps: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the episodes of a video one after the other.

    None of them crosses a cut. Frames are resized as they are decoded, so that the size
    of the video matters little for memory, and its length not at all. What is too high
    or too wide is cut off on both sides.

    Args:
        path: of a video file, or of a folder of pictures, which are its frames, `fps`
            of them a second, in the order of the numbers in their names.
        fps: frames a second of the episodes. A frame is what the video shows at that
            time; so, of a slower video, some are repeated.
        height, width: of the episodes' frames, in pixels.
        max_steps: what is longer becomes several episodes.

    Yields:
        The time at which the episode begins, in seconds, and its frames, uint8 (steps,
        height, width, 3), two or more.

    Raises:
        ValueError: if the video cannot be read, or breaks off; then only after all
            episodes before.
    """
    failures = []

    def read_on() -> Iterator[tuple[float, np.ndarray]]:
        try:
            if path.is_dir():
                yield from _read_pictures(path, fps, height, width)
            else:
                yield from _decode(path, height, width)
        except ValueError as error:
            failures.append(error)

    scenes = itertools.groupby(_number_scenes(read_on()), key=lambda frame: frame[0])
    for _, frames in scenes:
        samples = _sample(frames, fps)
        while steps := list(itertools.islice(samples, max_steps)):
            if len(steps) > 1:
                yield steps[0][0], np.stack([frame for _, frame in steps])
    if failures:
        raise failures[0]


def _number_scenes(
    frames: Iterable[tuple[float, np.ndarray]],
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yields (scene, time, frame) of each (time, frame)."""
    scene, time_before, before = 0, None, None
    lately = collections.deque([_USUAL_DIFFERENCE], maxlen=3)
    for time, frame in frames:
        if before is not None:
            difference = _difference(before, frame)
            if (
                difference > max(_CUT, _CUT_RATIO * np.mean(lately))
                or not 0 <= time - time_before <= _LONGEST_PAUSE
            ):
                scene += 1
                lately.clear()
                difference = _USUAL_DIFFERENCE
            lately.append(difference)
        yield scene, time, frame
        time_before, before = time, frame


def _sample(
    frames: Iterable[tuple[int, float, np.ndarray]], fps: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields (time, frame) at regular times of a scene, from frames at any times."""
    num_ticks, start, shown = 0, None, None
    for _, time, frame in frames:
        if start is None:
            start = time
        while start + num_ticks / fps < time - _TOLERANCE:
            yield start + num_ticks / fps, shown
            num_ticks += 1
        shown = frame
    if start + num_ticks / fps <= time + _TOLERANCE:
        yield start + num_ticks / fps, shown


def _difference(before: np.ndarray, after: np.ndarray) -> float:
    """The mean difference of two frames' 8x8 areas, in which what moves hardly counts."""
    areas = [
        np.asarray(
            Image.fromarray(frame).resize((8, 8), Image.Resampling.BOX), np.int16
        )
        for frame in (before, after)
    ]
    return np.abs(areas[0] - areas[1]).mean()


def _decode(path: Path, height: int, width: int) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the time in seconds and the pixels of each frame of a video file."""
    import av

    # Some containers name further files; these must be none of FFmpeg's concern.
    options = {
        "format_whitelist": _CONTAINERS[path.suffix.lower()],
        "protocol_whitelist": "file",
    }
    try:
        with av.open(str(path.absolute()), options=options) as container:
            if not container.streams.video:
                raise ValueError("it has no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                # Some files tell no times, only how many frames a second there are.
                time = frame.time
                if time is None:
                    time = number / (stream.guessed_rate or _USUAL_RATE)
                yield time, _resize(frame, height, width)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"it cannot be decoded ({error.strerror})") from error


def _resize(frame, height: int, width: int) -> np.ndarray:
    """The pixels of a frame of PyAV, upright, as uint8 (height, width, 3)."""
    quarters = frame.rotation // 90  # of telephones, which film in any position
    if quarters % 2:
        height, width = width, height
    scale = max(height / frame.height, width / frame.width)
    tall, wide = round(frame.height * scale), round(frame.width * scale)
    pixels = frame.to_ndarray(
        width=wide, height=tall, format="rgb24", interpolation="AREA"
    )
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.rot90(pixels[top : top + height, left : left + width], quarters)


def _read_pictures(
    folder: Path, fps: float, height: int, width: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the time in seconds and the pixels of each picture of a folder."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in _PICTURES]
    for number, path in enumerate(sorted(paths, key=_by_numbers)):
        try:
            with Image.open(path, formats=("JPEG", "PNG")) as picture:
                picture.draft("RGB", (2 * width, 2 * height))  # a JPEG, already smaller
                fitted = ImageOps.fit(
                    ImageOps.exif_transpose(picture).convert("RGB"), (width, height)
                )
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path.name} cannot be read as a picture") from error
        yield number / fps, np.asarray(fitted)


def _by_numbers(path: Path) -> list[tuple[str, int]]:
    """Sorts frame_2 before frame_10."""
    parts = re.findall(r"(\D*)(\d*)", path.name)
    return [(text, int(digits or 0)) for text, digits in parts]
