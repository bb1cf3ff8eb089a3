"""Search for videos in a folder, and conversion to episodes of small frames.

A video is a file that PyAV decodes, or a folder of images, which are its frames.
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

_IMAGES = (".jpeg", ".jpg", ".png")

# A frame starts a scene if its difference from the previous frame exceeds _CUT, of 255,
# and _CUT_RATIO times the recent mean. In Procgen's 16 games, where each level is a
# scene, this finds 93% of the cuts, with false cuts at 0.2% of the other frames; a
# fixed limit with as many false cuts finds 78%.
_CUT, _CUT_RATIO = 12, 3
# Assumed recent difference at the start of a scene.
_USUAL_DIFFERENCE = 10
# A longer pause, in seconds, or time that runs backwards also ends a scene.
_LONGEST_PAUSE = 10
# In seconds: containers round times to milliseconds.
_TOLERANCE = 1e-3


def printable(name: str) -> str:
    """Return a file name with unprintable characters escaped, such as \\n."""
    return "".join(
        x if x.isprintable() else x.encode("unicode_escape").decode() for x in name
    )


def find_videos(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Find the videos in a folder and its subfolders, except hidden ones.

    Links are followed, to each folder and video once.

    Args:
        folder: folder to search.

    Returns:
        Sorted names of the videos, relative to the folder; and, by sorted name of each
        other file, why it is not a video. A folder of images is one video, unless it or
        a subfolder holds videos: then the images are considered thumbnails.
    """
    videos, skipped = [], {}
    images = collections.defaultdict(list)
    for path in _find_files(folder, skipped):
        name = path.relative_to(folder)
        suffix = path.suffix.lower()
        if suffix in CONTAINERS:
            videos.append(name)
        elif suffix in _IMAGES:
            images[name.parent].append(name)
        else:
            endings = ", ".join(sorted({*CONTAINERS, *_IMAGES}))
            skipped[printable(str(name))] = f"its name does not end in {endings}"
    with_videos = {parent for video in videos for parent in video.parents}
    for parent, names in images.items():
        if parent not in with_videos:
            videos.append(parent)
            continue
        for name in names:
            skipped[printable(str(name))] = (
                "it is an image next to videos: put frames in a folder without videos"
            )
    return sorted(map(str, videos)), dict(sorted(skipped.items()))


def _find_files(folder: Path, skipped: dict[str, str]) -> Iterator[Path]:
    """Yield the files below a folder; add unusable ones to `skipped`."""
    seen = {}
    entries, links = [folder], []
    while entries or links:
        # Links come last: their targets keep their own names.
        path = (entries or links).pop()
        name = printable(str(path.relative_to(folder)))
        try:
            status = path.stat()
            identity = status.st_dev, status.st_ino
            is_folder = stat.S_ISDIR(status.st_mode)
            if not is_folder and not stat.S_ISREG(status.st_mode):
                skipped[name] = "it is not a regular file"
            elif identity in seen and path.suffix.lower() not in _IMAGES:
                skipped[name] = f"it is the same as {seen[identity]}"
            elif is_folder:
                inside = sorted(os.scandir(path), key=lambda x: x.name, reverse=True)
                for entry in inside:
                    if not entry.name.startswith("."):
                        (links if entry.is_symlink() else entries).append(Path(entry))
            else:
                yield path
            seen.setdefault(identity, name)
        except OSError as error:
            skipped[name] = f"it cannot be read ({error.strerror})"


def split_videos(
    folder: Path, *, fps: float, height: int, width: int
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Divide the videos of a folder into splits, and report unusable files.

    A tenth of the videos, at least one, are for validation, and as many for test. A
    hash of its name determines a video's split.

    Args:
        folder: folder of the videos.
        fps, height, width: see `read_episodes`.

    Returns:
        The names of the videos of each split, and, by printable name of each skipped
        file, why it cannot be used.

    Raises:
        ValueError: if fewer than three videos are usable.
    """
    folder = local_path(folder)
    videos, skipped = find_videos(folder)
    usable = []
    for name in videos:
        # Only decoding some frames shows whether this is a video.
        episodes = read_episodes(
            folder / name, fps=fps, height=height, width=width, max_steps=2
        )
        try:
            next(episodes)
            usable.append(name)
        except StopIteration:
            skipped[printable(name)] = f"no scene has two frames at {fps:g} per second"
        except ValueError as error:
            skipped[printable(name)] = str(error)
    if len(usable) < 3:
        raise ValueError(
            "Expected at least 3 usable videos, for training, validation and test; "
            f"{folder} has {len(usable)}{_list_problems(skipped)}."
        )
    usable.sort(key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    num_held_out = max(1, len(usable) // 10)
    return {
        "train": usable[2 * num_held_out :],
        "validation": usable[:num_held_out],
        "test": usable[num_held_out : 2 * num_held_out],
    }, skipped


def _list_problems(skipped: Mapping[str, str]) -> str:
    """Return the first problems, as the end of a sentence."""
    some = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
    return f" ({some}{'; ...' if len(skipped) > 3 else ''})" if some else ""


def read_episodes(
    path: Path, *, fps: float, height: int, width: int, max_steps: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the episodes of a video, which end at scene cuts at the latest.

    Frames are resized as they are decoded, so memory depends little on the size of the
    video and not on its length. Excess height or width is cropped on both sides.

    Args:
        path: video file, or folder of images: frames at `fps` per second, in the order
            of the numbers in their names.
        fps: frames per second of the episodes. Each frame is the one that a player
            shows at that time: frames of a slower video are repeated.
        height, width: size of the episodes' frames, in pixels.
        max_steps: maximum number of steps per episode; longer scenes are divided.

    Yields:
        The start of the episode, in seconds, and its frames, uint8 (steps, height,
        width, 3), two or more.

    Raises:
        ValueError: if part of the video cannot be read; raised after all readable
            episodes. The text is part of a sentence.
    """
    failures = []

    def read_frames() -> Iterator[tuple[float, float, np.ndarray]]:
        try:
            if path.is_dir():
                yield from _read_images(path, fps, height, width)
            else:
                yield from decode_video(path, height, width)
        except ValueError as error:
            failures.append(error)

    frames = _number_scenes(_with_ends(read_frames()))
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
    """Yield the start time, end time and pixels of each frame.

    A frame is shown until the next one. Its own duration counts only for the last frame
    and before a long pause.
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
    """Yield (scene, time, end, frame) for each (time, end, frame)."""
    scene, end_before, before = 0, None, None
    recent = collections.deque([_USUAL_DIFFERENCE], maxlen=3)
    for time, end, frame in frames:
        if before is not None:
            difference = _difference(before, frame)
            if (
                difference > max(_CUT, _CUT_RATIO * np.mean(recent))
                or time != end_before
            ):
                scene += 1
                recent.clear()
                difference = _USUAL_DIFFERENCE
            recent.append(difference)
        yield scene, time, end, frame
        end_before, before = end, frame


def _sample(
    frames: Iterable[tuple[int, float, float, np.ndarray]], fps: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time, frame) at regular times of a scene, from irregular frames."""
    start, num_ticks = None, 0
    for _, time, end, frame in frames:
        if start is None:
            start = time
        while start + num_ticks / fps < end - _TOLERANCE:
            yield start + num_ticks / fps, frame
            num_ticks += 1


def _difference(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean difference of 8x8 areas, in which motion hardly counts."""
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
    """Yield the times, durations and pixels of the images in a folder."""
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _IMAGES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    failures = []
    for number, path in enumerate(sorted(paths, key=_sort_key)):
        try:
            pixels = decode_image(path, height, width)
        except ValueError as error:
            failures.append(f"{printable(path.name)}: {error}")
        else:
            yield number / fps, 1 / fps, pixels
    if failures:
        raise ValueError(
            f"{len(failures)} of its {len(paths)} images cannot be used ({failures[0]})"
        )


def _sort_key(path: Path) -> list[tuple[str, int]]:
    """Return a key that sorts frame_2 before frame_10."""
    parts = re.findall(r"(\D*)(\d*)", path.name)
    return [(text, int(digits or 0)) for text, digits in parts]
