"""Episodes as plain arrays on disk, read with numpy: no TFDS, no TensorFlow.

A dataset is a folder with `arrays.json`, which lists splits and arrays, and one folder
per split with

- `video.npy`: uint8 (frames, height, width, 3), the frames of all episodes in turn;
- `lengths.npy`: int64 (episodes,);
- `action.npy`: int32 (frames,), the action taken after each frame, if the dataset has
  discrete actions.

`arrays.json` may also store the names and groups of the actions. Frames are not
compressed: a CoinRun frame takes 12 KB.
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

# Type and axes of each array.
_FORMS = {
    "video": (np.dtype(np.uint8), ("frames", "height", "width", 3)),
    "lengths": (np.dtype(np.int64), ("episodes",)),
    "action": (np.dtype(np.int32), ("frames",)),
}
_SPLIT = re.compile(r"\w[\w.-]*")


class ArrayEpisodes:
    """Episodes of one split of a folder of arrays, mapped into memory.

    Args:
        folder: folder of the dataset.
        split: split, such as "train".
        video: whether to read frames.
        frame_size: (height, width) that frames are scaled to fill; by default they keep
            their size.
        num_actions: number of actions; those of clips must be below it.

    Attributes:
        dataset, split: the folder and the split.
        lengths: int64 (episodes,), steps per episode.
        num_bytes: size on disk, in bytes.
        frame_shape: (height, width, 3) of the frames, if they are read.
        actions: names and groups of the actions, if the dataset names them.

    Raises:
        DataError: if a file does not have the form above.
        ValueError: if the split does not exist.
    """

    token_clip_length = None  # Arrays store no tokens.
    mixture = None

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
        total = sum(self.lengths.tolist())  # Python integers do not overflow.
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
        """Return the "video" and "action" of clips, (episode, start) pairs.

        The frames of a clip are `stride` steps apart; each action is the first of its
        stride.
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
        """Raise a ValueError: arrays have no episode metadata."""
        raise ValueError(
            f"The episodes of dataset {self.dataset!r} have no {name!r}: arrays hold no "
            "metadata."
        )

    def keep(self, num_episodes: int) -> None:
        """Do nothing: arrays are mapped into memory."""

    def _fit(self, video: np.ndarray) -> np.ndarray:
        return fit_frames(video, self._frame_size) if self._frame_size else video


def is_array_dataset(folder: str | os.PathLike) -> bool:
    """Return whether a folder holds a dataset of arrays.

    Raises:
        ValueError: if the name is a URL; see `local_path`.
    """
    return (local_path(folder) / "arrays.json").is_file()


def split_names(folder: str | os.PathLike) -> list[str]:
    """Return the splits of a folder of arrays.

    Raises:
        DataError: if its arrays.json does not have the form above.
    """
    splits, _ = _read_description(local_path(folder))
    return list(splits)


def check_tfds(dataset: str) -> None:
    """Raise a ValueError if a dataset needs TFDS and TFDS is not installed."""
    if not importlib.util.find_spec("tensorflow_datasets"):
        raise ValueError(
            f"{dataset!r} is not a folder with an arrays.json, and TFDS, which may know "
            "a dataset of that name, is not installed."
        )


def write_arrays(
    folder: str | os.PathLike,
    splits: Mapping[str, Iterable[tuple[np.ndarray, np.ndarray | None]]],
    actions: Actions | None = None,
) -> None:
    """Write a dataset as a folder of arrays, completely or not at all.

    Args:
        folder: new folder; must not exist.
        splits: for each split, its episodes: pairs of frames, uint8 (steps, height,
            width, 3), and actions, integers from 0 to 2**31-1 or booleans (steps,), or
            None. All frames have one size. Within a split, all episodes have actions or
            none do.
        actions: names and groups of the actions, if they have names.

    Raises:
        ValueError: if the folder exists, if there are no splits, if a split has no
            episodes, or if an episode has another form (a DataError).
        OSError: if a file cannot be written.
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
    """Return the array names of each split, and the actions."""
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
            f"{path} must list the arrays video, lengths and, if there are actions, "
            f"action for each split; found {splits}."
        )
    _check_splits(splits, str(path))
    return splits, None if actions is None else parse_actions(actions, str(path))


def _open_array(path: Path, name: str) -> np.ndarray:
    """Map an array into memory, and check its type and axes."""
    try:
        if not path.is_file():  # Opening a pipe would block forever.
            raise ValueError("there is no such file")
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises many types for bad headers.
        raise DataError(
            f"Expected {path} to hold a complete array; it does not ({error})."
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
        folder: existing folder of the split.
        episodes: see `write_arrays`.
        shape: frame shape of the earlier splits, if any.

    Returns:
        The names of the columns, and the frame shape.
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
                    f"{where} has frames of {frames.shape[1:]}, and earlier ones have "
                    f"{shape}; expected frames of one size."
                )
            if number and (action is None) == bool(actions):
                raise DataError(
                    f"{where} has {'no ' if action is None else ''}actions, unlike "
                    "earlier ones; expected actions for all episodes of a split, or for "
                    "none."
                )
            if not number:
                _write_header(file, (0, *shape))
            file.write(np.ascontiguousarray(frames))
            lengths.append(len(frames))
            if action is not None:
                actions.append(action)
        if not lengths:
            raise ValueError(f"Split {folder.name!r} has no episodes.")
        file.seek(0)
        _write_header(file, (sum(lengths), *shape))
    np.save(folder / "lengths.npy", np.array(lengths, np.int64))
    if not actions:
        return ["video", "lengths"], shape
    np.save(folder / "action.npy", np.concatenate(actions))
    return ["video", "action", "lengths"], shape


def _check_episode(episode, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Check an episode, and return its frames and int32 actions."""
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
    # Its size is fixed: numpy leaves room for the first axis to grow.
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
