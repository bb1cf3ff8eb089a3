"""What frames and actions must be, compared where they enter."""

from collections.abc import Iterable, Mapping

import numpy as np

from genie_tf.errors import DataError


def check_frames(frames: np.ndarray, where: str) -> None:
    """Raise a DataError unless frames are uint8 (steps, height, width, 3), not empty.

    Args:
        frames: of an episode.
        where: what they are of, the beginning of the sentence.
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
    """Raise a DataError unless integers are at least 0 and below `end`.

    Args:
        numbers: of any shape.
        end: the first number that is too large.
        where: what they are of, the beginning of the sentence.
        kind: what they are, such as "action".
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
    """Raise a DataError unless the actions and tokens of clips are below these limits."""
    where = name_split(dataset, split)
    for kind, name, end in (
        ("action", "action", num_actions),
        ("token", "tokens", num_codes),
    ):
        if end is not None and name in clips:
            check_range(clips[name], end, where, kind)


def to_int32(numbers: np.ndarray, where: str, kind: str) -> np.ndarray:
    """Return integers or booleans as int32; raises a DataError if one does not fit."""
    converted = numbers.astype(np.int32)
    wrong = numbers[converted != numbers]
    if wrong.size:
        raise DataError(
            f"{where} has the {kind} {wrong[0]}; expected {kind}s of 32 bits."
        )
    return converted


def name_split(dataset: str, split: str) -> str:
    """Return the beginning of a sentence about a split."""
    return f"Dataset {dataset!r}, split {split!r},"


def several_sizes(where: str, shapes: Iterable[tuple[int, ...]]) -> DataError:
    """Return the error to raise for frames that would have to be one array."""
    return DataError(
        f"{where} has frames of several sizes, {' and '.join(map(str, shapes))}: they "
        "must be scaled to one, which `frame_size` of open_episodes does, and --resize, "
        "or --config.resize=True, of the programs."
    )


def check_least(**limits: tuple[int, int]) -> None:
    """Raise a ValueError unless numbers, (value, least) by name, are large enough."""
    for name, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, received {value}.")
