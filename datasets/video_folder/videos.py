"""Finds videos in a folder, and reads them as episodes of small frames.

A video is a file that PyAV decodes, or a folder of pictures, its frames.
"""

import collections
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from genie_tf.files import local_path
from genie_tf.media.decoding import CONTAINERS, decode_image, decode_video

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
# Containers round times to milliseconds.
_TOLERANCE = 1e-3


def printable(name: str) -> str:
    """A file's name as text: what is not printable becomes an escape such as \\n."""
    return "".join(
        x if x.isprintable() else x.encode("unicode_escape").decode() for x in name
    )


def find_videos(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Look for videos in a folder and all below it; hidden ones are not looked at.

    Links are followed, to each folder and video once.

    Args:
        folder: where to look.

    Returns:
        Names of videos, relative to the folder and sorted; and, by the name of each file
        that is not a video, why, sorted too. A folder of pictures is one video, unless
        there are videos next to the pictures or below: then these are thumbnails.
    """
    videos, left_out = [], {}
    pictures = collections.defaultdict(list)
    for path in _find_files(folder, left_out):
        name = path.relative_to(folder)
        suffix = path.suffix.lower()
        if suffix in CONTAINERS:
            videos.append(name)
        elif suffix in _PICTURES:
            pictures[name.parent].append(name)
        else:
            endings = ", ".join(sorted({*CONTAINERS, *_PICTURES}))
            left_out[printable(str(name))] = f"its name does not end in {endings}"
    with_videos = {parent for video in videos for parent in video.parents}
    for parent, names in pictures.items():
        if parent not in with_videos:
            videos.append(parent)
            continue
        for name in names:
            left_out[printable(str(name))] = (
                "it is a picture next to videos: frames need a folder of their own"
            )
    return sorted(map(str, videos)), dict(sorted(left_out.items()))


def _find_files(folder: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield the files below a folder; adds those that cannot be used to `left_out`."""
    seen = {}
    entries, links = [folder], []
    while entries or links:
        # Links come last: what they lead to keeps its own name.
        path = (entries or links).pop()
        name = printable(str(path.relative_to(folder)))
        try:
            status = path.stat()
            identity = status.st_dev, status.st_ino
            is_folder = stat.S_ISDIR(status.st_mode)
            if not is_folder and not stat.S_ISREG(status.st_mode):
                left_out[name] = "it is not a regular file"
            elif identity in seen and path.suffix.lower() not in _PICTURES:
                left_out[name] = f"it is the same as {seen[identity]}"
            elif is_folder:
                inside = sorted(os.scandir(path), key=lambda x: x.name, reverse=True)
                for entry in inside:
                    if not entry.name.startswith("."):
                        (links if entry.is_symlink() else entries).append(Path(entry))
            else:
                yield path
            seen.setdefault(identity, name)
        except OSError as error:
            left_out[name] = f"it cannot be read ({error.strerror})"


def split_videos(
    folder: Path, *, fps: float, height: int, width: int
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Tell which videos belong to which split, and which cannot be used.

    A tenth of the videos, and one at least, are for validation, and as many for test. A
    hash of its name decides where a video goes.

    Args:
        folder: where the videos are.
        fps, height, width: see `read_episodes`.

    Returns:
        The names of the videos of each split, and, by the printable name of each file
        that is left out, why.

    Raises:
        ValueError: if fewer than three videos can be used.
    """
    folder = local_path(folder)
    videos, skipped = find_videos(folder)
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
            skipped[printable(name)] = f"no scene has two frames at {fps:g} a second"
        except ValueError as error:
            skipped[printable(name)] = str(error)
    if len(usable) < 3:
        raise ValueError(
            f"Training, validation and test need a video each, and {folder} has "
            f"{len(usable)} that can be used{_list_problems(skipped)}."
        )
    usable.sort(key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
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
    """Yield the episodes of a video one after the other.

    None of them crosses a cut. Frames are resized as they are decoded, so that the size
    of the video matters little for memory, and its length not at all. What is too high
    or too wide is cut off on both sides.

    Args:
        path: of a video file, or of a folder of pictures, which are its frames, `fps`
            of them a second, in the order of the numbers in their names.
        fps: frames a second of the episodes. A frame is what a player shows at that
            time: frames of a slower video are repeated.
        height, width: of the episodes' frames, in pixels.
        max_steps: what is longer becomes several episodes.

    Yields:
        The time at which the episode begins, in seconds, and its frames, uint8 (steps,
        height, width, 3), two or more.

    Raises:
        ValueError: if the video, or a part of it, cannot be read; after all episodes
            that can. The text is a part of a sentence.
    """
    failures = []

    def read_on() -> Iterator[tuple[float, float, np.ndarray]]:
        try:
            if path.is_dir():
                yield from _read_images(path, fps, height, width)
            else:
                yield from decode_video(path, height, width)
        except ValueError as error:
            failures.append(error)

    frames = _number_scenes(_with_ends(read_on()))
    for _, scene in itertools.groupby(frames, key=lambda frame: frame[0]):
        samples = _sample(scene, fps)
        while steps := list(itertools.islice(samples, max_steps)):
            if len(steps) > 1:
                yield steps[0][0], np.stack([frame for _, frame in steps])
    if failures:
        raise failures[0]


def _with_ends(
    frames: Iterable[tuple[float, float, np.ndarray]],
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield when each frame is shown, until when, and its pixels.

    A frame stays until the next one comes. Only of the last one, and before a long pause,
    its own duration counts.
    """
    before = None
    for frame in itertools.chain(frames, [None]):
        if before is not None:
            time, seconds, pixels = before
            end = frame[0] if frame is not None else np.inf
            if not 0 <= end - time <= _LONGEST_PAUSE:
                end = time + min(seconds, _LONGEST_PAUSE)
            yield time, end, pixels
        before = frame


def _number_scenes(
    frames: Iterable[tuple[float, float, np.ndarray]],
) -> Iterator[tuple[int, float, float, np.ndarray]]:
    """Yield (scene, time, end, frame) of each (time, end, frame)."""
    scene, end_before, before = 0, None, None
    lately = collections.deque([_USUAL_DIFFERENCE], maxlen=3)
    for time, end, frame in frames:
        if before is not None:
            difference = _difference(before, frame)
            if (
                difference > max(_CUT, _CUT_RATIO * np.mean(lately))
                or time != end_before
            ):
                scene += 1
                lately.clear()
                difference = _USUAL_DIFFERENCE
            lately.append(difference)
        yield scene, time, end, frame
        end_before, before = end, frame


def _sample(
    frames: Iterable[tuple[int, float, float, np.ndarray]], fps: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time, frame) at regular times of a scene, from frames at any times."""
    start, num_ticks = None, 0
    for _, time, end, frame in frames:
        if start is None:
            start = time
        while start + num_ticks / fps < end - _TOLERANCE:
            yield start + num_ticks / fps, frame
            num_ticks += 1


def _difference(before: np.ndarray, after: np.ndarray) -> float:
    """The mean difference of two frames' 8x8 areas, in which what moves hardly counts."""
    areas = [
        np.asarray(
            Image.fromarray(frame).resize((8, 8), Image.Resampling.BOX), np.int16
        )
        for frame in (before, after)
    ]
    return np.abs(areas[0] - areas[1]).mean()


def _read_images(
    folder: Path, fps: float, height: int, width: int
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield the times, durations and pixels of the pictures of a folder."""
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _PICTURES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    failures = []
    for number, path in enumerate(sorted(paths, key=_by_numbers)):
        try:
            pixels = decode_image(path, height, width)
        except ValueError as error:
            failures.append(f"{printable(path.name)}: {error}")
        else:
            yield number / fps, 1 / fps, pixels
    if failures:
        raise ValueError(
            f"{len(failures)} of its {len(paths)} pictures cannot be used "
            f"({failures[0]})"
        )


def _by_numbers(path: Path) -> list[tuple[str, int]]:
    """Sort frame_2 before frame_10."""
    parts = re.findall(r"(\D*)(\d*)", path.name)
    return [(text, int(digits or 0)) for text, digits in parts]
