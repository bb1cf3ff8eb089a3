"""Episodes as plain arrays on disk, read with numpy alone: no TFDS, no TensorFlow.

A dataset is a folder with `arrays.json`, which tells its splits, and for each split a
folder with `video.npy`, uint8 (frames, height, width, channels), the frames of all
episodes one after the other; `lengths.npy`, int64 (episodes,); and `action.npy`, int32
(frames,), what was done after each frame, if the dataset has discrete actions. Frames
are not compressed: 12 KB each of CoinRun.
"""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np


class ArrayEpisodes:
    """The episodes of one split of a folder of arrays, mapped into memory.

    Args:
        folder: the dataset.
        split: such as "train".
        video: whether to read frames.

    Attributes:
        lengths: int64 (episodes,), the number of steps of each.
        num_bytes: what they take on disk.

    Raises:
        ValueError: if there is no such split, or if its arrays are cut short.
    """

    tokens_of = None  # No tokens are stored.

    def __init__(self, folder: str | os.PathLike, split: str, video: bool = True):
        self._folder = os.fspath(folder)
        splits = _columns(folder)
        if split not in splits:
            raise ValueError(
                f"Dataset {os.fspath(folder)!r} has no split {split!r}: its splits are "
                f"{', '.join(splits)}."
            )
        arrays = {}
        self.num_bytes = 0
        for name in splits[split] if video else set(splits[split]) - {"video"}:
            path = Path(folder) / split / f"{name}.npy"
            try:
                arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
                self.num_bytes += path.stat().st_size
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"Expected {path} to hold a whole array; it does not ({error})."
                ) from error
        self.lengths = np.array(arrays.pop("lengths"))
        self._columns = arrays
        self._starts = np.cumsum(self.lengths) - self.lengths

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Returns the "video" and "action" of clips given as (episode, start) pairs.

        The frames of a clip are `stride` steps apart; an action is that of the first of
        these.
        """
        first = [self._starts[episode] + start for episode, start in clips]
        frames = {"video": clip_length, "action": clip_length - 1}
        return {
            name: np.stack(
                [column[i : i + frames[name] * stride : stride] for i in first]
            )
            for name, column in self._columns.items()
        }

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns all frames of an episode, and its actions if it has any."""
        start = self._starts[episode]
        part = slice(start, start + self.lengths[episode])
        action = self._columns.get("action")
        return self._columns["video"][part], None if action is None else action[part]

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Returns the "action" of each step of an episode, if there are actions."""
        if "action" not in self._columns:
            return {}
        start = self._starts[episode]
        return {"action": self._columns["action"][start:][: self.lengths[episode]]}

    def read_metadata(self, name: str) -> np.ndarray:
        """Raises a ValueError, for arrays have no metadata of episodes."""
        raise ValueError(
            f"The episodes of dataset {self._folder!r} have no {name!r}: arrays hold no "
            "metadata."
        )


def is_array_dataset(folder: str | os.PathLike) -> bool:
    """Whether there is a folder of arrays of this name."""
    return (Path(folder) / "arrays.json").is_file()


def split_names(folder: str | os.PathLike) -> list[str]:
    """The splits of a folder of arrays."""
    return list(_columns(folder))


def check_tfds(dataset: str) -> None:
    """Raises a ValueError if TFDS, which must know a dataset, is not installed."""
    if not importlib.util.find_spec("tensorflow_datasets"):
        raise ValueError(
            f"{dataset!r} is no folder of arrays, which would hold arrays.json, and "
            "TFDS, which may know it by that name, is not installed."
        )


def write_arrays(
    folder: str | os.PathLike,
    splits: Mapping[str, Iterable[tuple[np.ndarray, np.ndarray | None]]],
) -> None:
    """Writes a dataset as a folder of arrays, whole or not at all.

    Args:
        folder: must not exist.
        splits: of each split, the frames, uint8 (steps, height, width, channels), and
            the actions, int (steps,) or None, of each episode in turn.

    Raises:
        ValueError: if the folder exists, or if a split has no episodes.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists already: choose another folder.")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        columns = {}
        for split, episodes in splits.items():
            (partial / split).mkdir(parents=True)
            columns[split] = _write_split(partial / split, episodes)
        (partial / "arrays.json").write_text(json.dumps({"splits": columns}))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _columns(folder: str | os.PathLike) -> dict[str, list[str]]:
    """The names of the arrays of each split."""
    return json.loads((Path(folder) / "arrays.json").read_text())["splits"]


def _write_split(folder: Path, episodes) -> list[str]:
    """Writes the columns of a split; their names."""
    lengths, actions = [], []
    with (folder / "video.npy").open("wb") as file:
        shape = ()
        for frames, action in episodes:
            if not lengths:
                shape = frames.shape[1:]
                _write_header(file, (0, *shape))
            file.write(np.ascontiguousarray(frames, np.uint8))
            lengths.append(len(frames))
            if action is not None:
                actions.append(action)
        if not lengths:
            raise ValueError(f"The split {folder.name} has no episodes.")
        file.seek(0)
        _write_header(file, (sum(lengths), *shape))
    np.save(folder / "lengths.npy", np.array(lengths, np.int64))
    if not actions:
        return ["video", "lengths"]
    np.save(folder / "action.npy", np.concatenate(actions).astype(np.int32))
    return ["video", "action", "lengths"]


def _write_header(file, shape: tuple[int, ...]) -> None:
    # As long for any number of frames: numpy leaves room for the first axis to grow.
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
