"""Checks of frames, actions and other numbers, made where they enter."""

from collections.abc import Iterable, Mapping

import numpy as np

from genie_tf.errors import DataError


def check_frames(frames: np.ndarray, where: str) -> None:
    """Raise a DataError unless frames are non-empty uint8 (steps, height, width, 3).

    Args:
        frames: frames of an episode.
        where: origin of the frames, which starts the error message.
    """
    is_video = frames.ndim == 4 and frames.shape[-1] == 3 and frames.size
    if frames.dtype == np.uint8 and is_video:
        return
    hint = (
        "; frames from 0 to 1 become bytes by (255 * frames).round().astype('uint8')"
        if frames.dtype.kind == "f"
        else ""
    )
    raise DataError(
        f"{where} has frames of {frames.dtype} {frames.shape}; expected uint8 (steps, "
        f"height, width, 3), from 0 to 255{hint}."
    )


def check_range(numbers: np.ndarray, end: int, where: str, kind: str) -> None:
    """Raise a DataError unless integers are from 0 to `end` - 1.

    Args:
        numbers: integers of any shape.
        end: upper limit, exclusive.
        where: origin of the numbers, which starts the error message.
        kind: what the numbers are, such as "action".
    """
    if not numbers.size:
        return
    for number in (numbers.min(), numbers.max()):
        if not 0 <= number < end:
            raise DataError(
                f"{where} has the {kind} {number}; expected {kind}s from 0 to {end - 1}."
            )


def check_clips(
    clips: Mapping[str, np.ndarray],
    dataset: str,
    split: str,
    num_actions: int | None = None,
    num_codes: int | None = None,
) -> None:
    """Raise a DataError unless actions and tokens of clips are below their limits."""
    where = name_split(dataset, split)
    for kind, name, end in (
        ("action", "action", num_actions),
        ("token", "tokens", num_codes),
    ):
        if end is not None and name in clips:
            check_range(clips[name], end, where, kind)


def to_int32(numbers: np.ndarray, where: str, kind: str) -> np.ndarray:
    """Convert integers or booleans to int32, or raise a DataError."""
    converted = numbers.astype(np.int32)
    wrong = numbers[converted != numbers]
    if wrong.size:
        raise DataError(
            f"{where} has the {kind} {wrong[0]}; expected {kind}s that fit 32 bits."
        )
    return converted


def name_split(dataset: str, split: str) -> str:
    """Return the start of an error message about a split."""
    return f"Dataset {dataset!r}, split {split!r},"


def mixed_sizes_error(where: str, shapes: Iterable[tuple[int, ...]]) -> DataError:
    """Return the error to raise if frames differ in size."""
    return DataError(
        f"{where} has frames of several sizes, {' and '.join(map(str, shapes))}: scale "
        "them to one size with `frame_size` of open_episodes, or with --resize or "
        "--config.resize=True of the programs."
    )


def check_frame_size(batch: Mapping[str, np.ndarray], episodes) -> None:
    """Raise a DataError if the frames of clips differ in size from the first frame.

    Args:
        batch: result of `episodes.read_clips`.
        episodes: see `open_episodes`.
    """
    if "video" in batch and batch["video"].shape[2:] != episodes.frame_shape:
        raise mixed_sizes_error(
            name_split(episodes.dataset, episodes.split),
            (episodes.frame_shape, batch["video"].shape[2:]),
        )


def check_least(**limits: tuple[int, int]) -> None:
    """Raise a ValueError unless value >= minimum in each name=(value, minimum)."""
    for name, (value, minimum) in limits.items():
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}; received {value}.")
