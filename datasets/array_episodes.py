"""Episodes as plain arrays on disk, read with numpy: no TFDS, no TensorFlow.

A dataset is a folder with `arrays.json`, which names its splits and the arrays of each,
and for each split a folder with `video.npy`, uint8 (frames, height, width, 3), the frames
of all episodes one after the other; `lengths.npy`, int64 (episodes,); and `action.npy`,
int32 (frames,), what was done after each frame, if the dataset has discrete actions.
arrays.json may also name these actions, and say which of them do the same. Frames are not compressed: 12 KB each of CoinRun.
"""

import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from genie_tf.datasets.actions import Actions, lower_limit, parse_actions
from genie_tf.datasets.checks import check_clips, check_frames, check_range
from genie_tf.datasets.frames import fit_frames
from genie_tf.errors import DataError
from genie_tf.files import check_new, local_path, replacing_folder

# The type and axes of each array.
_FORMS = {
    "video": (np.dtype(np.uint8), ("frames", "height", "width", 3)),
    "lengths": (np.dtype(np.int64), ("episodes",)),
    "action": (np.dtype(np.int32), ("frames",)),
}
_SPLIT = re.compile(r"\w[\w.-]*")


class ArrayEpisodes:
    """The episodes of one split of a folder of arrays, mapped into memory.

    Args:
        folder: the dataset.
        split: such as "train".
        video: whether to read frames.
        frame_size: (height, width) that frames are scaled to fill, if not as they are.
        num_actions: all actions of clips must be from 0 to `num_actions` - 1.

    Attributes:
        dataset, split: the folder and the split.
        lengths: int64 (episodes,), the number of steps of each.
        num_bytes: what they take on disk.
        frame_shape: (height, width, 3) of the frames, if they are read.
        actions: names and groups of the actions, if the dataset names them.

    Raises:
        DataError: if its files are not of the form above.
        ValueError: if there is no such split.
    """

    tokens_of = None  # No tokens are stored.

    def __init__(
        self,
        folder: str | os.PathLike,
        split: str,
        video: bool = True,
        frame_size: tuple[int, int] | None = None,
        num_actions: int | None = None,
    ):
        folder = local_path(folder)
        self.dataset = os.fspath(folder)
        self.split = split
        self._frame_size = frame_size
        splits, self.actions = _read_description(folder)
        self._num_actions = lower_limit(num_actions, self.actions)
        if split not in splits:
            raise ValueError(
                f"Dataset {self.dataset!r} has no split {split!r}: its splits are "
                f"{', '.join(splits)}."
            )
        names = [name for name in splits[split] if video or name != "video"]
        paths = {name: folder / split / f"{name}.npy" for name in names}
        self._columns = {name: _open_array(path, name) for name, path in paths.items()}
        self.num_bytes = sum(path.stat().st_size for path in paths.values())
        self.lengths = np.array(self._columns.pop("lengths"))
        if self.lengths.min(initial=1) < 1:
            raise DataError(
                f"{paths['lengths']} has an episode of {self.lengths.min()} frames; "
                "expected 1 or more."
            )
        total = sum(self.lengths.tolist())  # Python's integers do not overflow.
        for name, column in self._columns.items():
            if len(column) != total:
                raise DataError(
                    f"{paths[name]} has {len(column)} frames; expected {total}, the sum "
                    f"of {paths['lengths']}."
                )
        if "action" in self._columns:
            check_range(self._columns["action"], 2**31, str(paths["action"]), "action")
        self._starts = np.cumsum(self.lengths) - self.lengths
        self.frame_shape = None
        if video:
            shape = self._columns["video"].shape[1:]
            self.frame_shape = (*frame_size, 3) if frame_size else shape

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Return the "video" and "action" of clips given as (episode, start) pairs.

        The frames of a clip are `stride` steps apart; an action is that of the first of
        these.
        """
        first = [self._starts[episode] + start for episode, start in clips]
        frames = {"video": clip_length, "action": clip_length - 1}
        batch = {
            name: np.stack(
                [column[i : i + frames[name] * stride : stride] for i in first]
            )
            for name, column in self._columns.items()
        }
        if "video" in batch:
            batch["video"] = self._fit(batch["video"])
        check_clips(batch, self.dataset, self.split, self._num_actions)
        return batch

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all frames of an episode, and its actions if it has any."""
        start = self._starts[episode]
        part = slice(start, start + self.lengths[episode])
        action = self._columns.get("action")
        frames = self._fit(self._columns["video"][part])
        return frames, None if action is None else action[part]

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Return the "action" of each step of an episode, if there are actions."""
        if "action" not in self._columns:
            return {}
        start = self._starts[episode]
        return {"action": self._columns["action"][start:][: self.lengths[episode]]}

    def read_metadata(self, name: str) -> np.ndarray:
        """Raise a ValueError, for arrays have no metadata of episodes."""
        raise ValueError(
            f"The episodes of dataset {self.dataset!r} have no {name!r}: arrays hold no "
            "metadata."
        )

    def keep(self, num_episodes: int) -> None:
        """Do nothing, for arrays are mapped into memory."""

    def _fit(self, video: np.ndarray) -> np.ndarray:
        return fit_frames(video, self._frame_size) if self._frame_size else video


def is_array_dataset(folder: str | os.PathLike) -> bool:
    """Return whether there is a folder of arrays of this name.

    Raises:
        ValueError: if the name is an address, see `local_path`.
    """
    return (local_path(folder) / "arrays.json").is_file()


def split_names(folder: str | os.PathLike) -> list[str]:
    """Return the splits of a folder of arrays.

    Raises:
        DataError: if its arrays.json is not of the form above.
    """
    splits, _ = _read_description(local_path(folder))
    return list(splits)


def check_tfds(dataset: str) -> None:
    """Raise a ValueError if TFDS, which must know a dataset, is not installed."""
    if not importlib.util.find_spec("tensorflow_datasets"):
        raise ValueError(
            f"{dataset!r} is no folder of arrays, which would hold arrays.json, and "
            "TFDS, which may know it by that name, is not installed."
        )


def write_arrays(
    folder: str | os.PathLike,
    splits: Mapping[str, Iterable[tuple[np.ndarray, np.ndarray | None]]],
    actions: Actions | None = None,
) -> None:
    """Write a dataset as a folder of arrays, whole or not at all.

    Args:
        folder: must not exist.
        splits: of each split, the frames, uint8 (steps, height, width, 3), and the
            actions, integers from 0 to 2**31-1 or booleans (steps,), or None, of each
            episode in turn. All frames have one size. All episodes of a split have
            actions, or none has.
        actions: names and groups of the actions, if they have names.

    Raises:
        ValueError: if the folder exists, if there are no splits, if a split has no
            episodes, or if an episode is of another form (a DataError).
        OSError: if something cannot be written.
    """
    folder = check_new(folder)
    _check_splits(splits, "`splits`")
    try:
        with replacing_folder(folder) as partial:
            columns = {}
            shape = None
            for split, episodes in splits.items():
                (partial / split).mkdir()
                columns[split], shape = _write_split(partial / split, episodes, shape)
            description = {"splits": columns}
            if actions is not None:
                description["actions"] = actions._asdict()
            (partial / "arrays.json").write_text(json.dumps(description))
    except OSError as error:
        raise OSError(f"{folder} was not written: {error}") from error


def _check_splits(splits: Mapping, where: str) -> None:
    if not isinstance(splits, Mapping):
        raise DataError(
            f"Expected {where} to map names of splits to their episodes; received "
            f"{type(splits).__name__}."
        )
    if not splits or not all(
        isinstance(name, str) and _SPLIT.fullmatch(name) for name in splits
    ):
        raise DataError(
            f"Expected {where} to name splits, such as train and test; received "
            f"{', '.join(map(repr, splits)) or 'none'}."
        )


def _read_description(folder: Path) -> tuple[dict[str, list[str]], Actions | None]:
    """Return the names of the arrays of each split, and what the actions are."""
    path = folder / "arrays.json"
    try:
        description = json.loads(path.read_bytes())
        splits, actions = description["splits"], description.get("actions")
        complete = all(
            {"video", "lengths"} <= set(names) <= set(_FORMS)
            for names in splits.values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path} cannot be read: it is nested too deeply.") from error
    if not complete:
        raise DataError(
            f"{path} must name the arrays video, lengths and, if there are actions, "
            f"action, of each split; found {splits}."
        )
    _check_splits(splits, str(path))
    return splits, None if actions is None else parse_actions(actions, str(path))


def _open_array(path: Path, name: str) -> np.ndarray:
    """Map an array into memory, whose form must be that of its name."""
    try:
        if not path.is_file():  # Opening a pipe would wait for ever.
            raise ValueError("there is no such file")
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises many kinds for headers of other forms.
        raise DataError(
            f"Expected {path} to hold a whole array; it does not ({error})."
        ) from error
    dtype, axes = _FORMS[name]
    fits = array.ndim == len(axes) and axes[-1] in (
        "frames",
        "episodes",
        array.shape[-1],
    )
    if array.dtype != dtype or not fits:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}; expected {dtype} "
            f"({', '.join(map(str, axes))})."
        )
    return array


def _write_split(
    folder: Path, episodes: Iterable, shape: tuple[int, ...] | None
) -> tuple[list[str], tuple[int, ...]]:
    """Write the columns of a split.

    Args:
        folder: exists.
        episodes: as `write_arrays` takes them.
        shape: of the frames of the splits before.

    Returns:
        The names of the columns, and the shape of the frames.
    """
    lengths, actions = [], []
    with (folder / "video.npy").open("wb") as file:
        for number, episode in enumerate(episodes):
            where = f"Episode {number} of split {folder.name!r}"
            frames, action = _check_episode(episode, where)
            if shape is None:
                shape = frames.shape[1:]
            if frames.shape[1:] != shape:
                raise DataError(
                    f"{where} has frames of {frames.shape[1:]}, and those before have "
                    f"{shape}; expected frames of one size."
                )
            if number and (action is None) == bool(actions):
                raise DataError(
                    f"{where} has {'no ' if action is None else ''}actions, unlike those "
                    "before; expected actions for all episodes of a split, or for none."
                )
            if not number:
                _write_header(file, (0, *shape))
            file.write(np.ascontiguousarray(frames))
            lengths.append(len(frames))
            if action is not None:
                actions.append(action)
        if not lengths:
            raise ValueError(f"The split {folder.name} has no episodes.")
        file.seek(0)
        _write_header(file, (sum(lengths), *shape))
    np.save(folder / "lengths.npy", np.array(lengths, np.int64))
    if not actions:
        return ["video", "lengths"], shape
    np.save(folder / "action.npy", np.concatenate(actions))
    return ["video", "action", "lengths"], shape


def _check_episode(episode, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return frames and int32 actions of an episode that has the right form."""
    try:
        frames, action = episode
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where} is {type(episode).__name__}; expected a pair of frames and "
            "actions, or of frames and None."
        ) from error
    frames = np.asarray(frames)
    check_frames(frames, where)
    if action is None:
        return frames, None
    action = np.asarray(action)
    if action.dtype.kind not in "biu" or action.shape != frames.shape[:1]:
        raise DataError(
            f"{where} has actions of {action.dtype} {action.shape}; expected integers "
            f"{frames.shape[:1]}, one for each frame."
        )
    check_range(action, 2**31, where, "action")
    return frames, action.astype(np.int32)


def _write_header(file, shape: tuple[int, ...]) -> None:
    # As long for any number of frames: numpy leaves room for the first axis to grow.
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
