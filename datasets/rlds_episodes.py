"""Random access to the episodes of a TFDS dataset in RLDS form."""

import collections
import functools
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from genie_tf.datasets.actions import lower_limit
from genie_tf.datasets.checks import check_clips, name_split, to_int32
from genie_tf.datasets.rlds_decoding import (
    check_tokenizer,
    frame_decoder,
    select_frame,
    select_metadata,
    select_numbers,
    select_tokens,
    tensor_decoder,
)
from genie_tf.datasets.rlds_features import read_actions
from genie_tf.datasets.tfrecord import (
    Columns,
    find_episodes,
    mismatch_error,
    open_records,
    read_record,
)
from genie_tf.errors import DataError
from genie_tf.files import local_path


class RldsEpisodes:
    """Episodes of one split of an RLDS dataset, read on demand.

    Episodes without steps are skipped, and counted in a warning.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard", built first if
            necessary; or the folder of a TFDS dataset.
        split: split, such as "train" or "train[:10%]".
        data_dir, camera, video, frame_size, metadata, num_actions, tokenizer,
            num_codes, num_patches: see `open_episodes`.

    Attributes:
        dataset, split: arguments of the constructor.
        actions: names and groups of the actions, if the dataset names them.
        lengths: int64 (episodes,), steps per episode, at least 1.
        num_bytes: size on disk, in bytes.
        frame_shape: (height, width, 3) of the first frame, if any and if frames are
            read. Without `frame_size`, other frames may differ.
        token_clip_length: if tokens are read, the length of the clips that were
            tokenized, or 1 if each frame was tokenized by itself; otherwise None.

    Raises:
        DataError: if a file is damaged or missing, or does not match the dataset's
            features; also on reading.
        ValueError: if the dataset, config, split or camera does not exist, if the
            dataset does not hold RLDS episodes with frames, or if its tokens come from
            another tokenizer.
    """

    mixture = None

    def __init__(
        self,
        dataset: str,
        split: str,
        data_dir: str | None = None,
        camera: str | None = None,
        *,
        video: bool = True,
        frame_size: tuple[int, int] | None = None,
        metadata: str | None = None,
        num_actions: int | None = None,
        tokenizer: str | None = None,
        num_codes: int | None = None,
        num_patches: int | None = None,
    ):
        info = _prepare(dataset, data_dir).info
        frame_name, frame = select_frame(dataset, info.features, camera)
        steps = info.features["steps"]
        numbers = select_numbers(steps)
        self._numbers = Columns(numbers)
        self.dataset = dataset
        self.split = split
        self.actions = read_actions(info, dataset)
        self._limits = {
            "num_actions": lower_limit(num_actions, self.actions),
            "num_codes": num_codes,
        }
        self._metadata = select_metadata(info.features)
        columns = {name: numbers[name] for name in ("action",) if name in numbers}
        self._decoders = {}
        if video:
            columns[frame_name] = frame
            decoder = frame_decoder(frame, frame_size, dataset)
            self._decoders["video"] = frame_name, decoder
        self.token_clip_length = None
        if tokenizer is not None and "tokenizer" in (info.metadata or {}):
            self.token_clip_length = check_tokenizer(dataset, info.metadata, tokenizer)
            columns["tokens"] = tokens = select_tokens(dataset, steps)
            if num_patches not in (None, *tokens.shape):
                raise DataError(
                    f"{name_split(dataset, split)} has {tokens.shape[0]} tokens per frame; "
                    f"expected {num_patches}."
                )
            self._decoders["tokens"] = "tokens", tensor_decoder(tokens)
        self._columns = Columns(columns)
        self._records = []
        lengths = []
        num_empty = 0
        for shard in _find_shards(dataset, split, info):
            for record, length in find_episodes(shard):
                if length:
                    self._records.append(record)
                    lengths.append(length)
                else:
                    num_empty += 1
        if num_empty:
            logging.warning(
                "%s, split %s: %d of %d episodes have no steps and are skipped.",
                *(dataset, split, num_empty, num_empty + len(lengths)),
            )
        self.lengths = np.array(lengths, np.int64)
        # Plus size and checksums of each record.
        self.num_bytes = sum(size + 16 for _, _, size in self._records)
        self.keep(1)
        self._labels = {}
        if metadata is not None:
            self._labels[metadata] = self.read_metadata(metadata)
        # Check the first episode against the features.
        first = self.read_clips([(0, 0)], 1) if lengths else {}
        self.frame_shape = first["video"].shape[2:] if "video" in first else None

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Return the "video", "action" and "tokens" of clips, (episode, start) pairs.

        The frames of a clip are `stride` steps apart; each action is the first of its
        stride. Columns that the dataset lacks are omitted. The requested metadata are
        included.
        """
        parts = collections.defaultdict(list)
        for episode, start in clips:
            steps = self._kept(episode)
            last = start + (clip_length - 1) * stride
            for name, (column, _) in self._decoders.items():
                parts[name].append(steps[column][start : last + 1 : stride])
            if "action" in steps:
                parts["action"].append(steps["action"][start:last:stride])
        batch = {}
        chosen = [episode for episode, _ in clips]
        for name, (_, decode) in self._decoders.items():
            steps = self._decode(decode, parts[name], chosen)
            batch[name] = steps.reshape(-1, clip_length, *steps.shape[1:])
        if "tokens" in batch:
            batch["tokens"] = batch["tokens"].astype(np.int32)
        if "action" in parts:
            batch["action"] = np.stack(parts["action"])
        check_clips(batch, self.dataset, self.split, **self._limits)
        return batch | {name: labels[chosen] for name, labels in self._labels.items()}

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all frames of an episode, and its discrete actions, if any."""
        steps = self._kept(episode)
        column, decode = self._decoders["video"]
        return self._decode(decode, [steps[column]], [episode]), steps.get("action")

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Return the "action" and "reward" of each step of an episode, if any.

        Actions that are not discrete are omitted. Frames are not read, so no checksum
        is verified.
        """
        if not self._numbers.names:
            return {}
        filename, offset, size = self._records[episode]
        with open_records(filename) as file:
            length = self.lengths[episode]
            return _with_int32_action(
                self._numbers.read(file, offset, size, length), filename
            )

    def read_metadata(self, name: str) -> np.ndarray:
        """Return an integer from each episode's metadata: int32 (episodes,).

        Raises:
            ValueError: if the metadata have no integer of that name.
        """
        if name not in self._metadata:
            raise ValueError(
                f"The episodes of dataset {self.dataset!r} have no integer {name!r} in "
                "their metadata; available: "
                f"{', '.join(sorted(self._metadata)) or 'none'}."
            )
        columns = Columns({name: self._metadata[name]}, "episode_metadata")
        values = []
        for filename, offset, size in self._records:
            with open_records(filename) as file:
                values.append(columns.read(file, offset, size, 1)[name])
        numbers = np.concatenate([np.zeros(0, np.int64), *values])
        return to_int32(numbers, f"Dataset {self.dataset!r}", name)

    def keep(self, num_episodes: int) -> None:
        """Keep this many episodes in memory, still compressed.

        512 episodes of CoinRun take about 0.5 GB.
        """
        self._kept = functools.lru_cache(maxsize=num_episodes)(self._read)

    def _read(self, episode: int) -> dict[str, np.ndarray]:
        """Return the columns of an episode, with encoded frames."""
        filename, offset, size = self._records[episode]
        with open_records(filename) as file:
            record = read_record(file, offset, size)
            columns = self._columns.read(record, 0, size, self.lengths[episode])
            return _with_int32_action(columns, filename)

    def _decode(
        self, decode: Callable, parts: list[Sequence], episodes: list[int]
    ) -> np.ndarray:
        """Decode the steps of some episodes together; on failure, name the file."""
        try:
            return decode(list(itertools.chain(*parts)))
        except DataError:
            raise
        except Exception:  # Decoders raise many types.
            for part, episode in zip(parts, episodes, strict=True):
                try:
                    decode(part)
                except Exception as error:
                    filename, _, _ = self._records[episode]
                    raise mismatch_error(
                        filename, f"a step cannot be decoded ({error})"
                    ) from error
            raise


def _with_int32_action(columns: dict, filename: str) -> dict:
    if "action" in columns:
        columns["action"] = to_int32(columns["action"], filename, "action")
    return columns


def split_names(dataset: str, data_dir: str | None = None) -> list[str]:
    """Return the splits of a dataset, built first if necessary.

    Raises:
        ValueError: if the dataset or config does not exist.
    """
    return list(_prepare(dataset, data_dir).info.splits)


def _prepare(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Build a dataset if necessary, and return its builder."""
    folder = local_path(dataset)
    data_dir = None if data_dir is None else local_path(data_dir)
    if (folder / "dataset_info.json").is_file():
        return _open_folder(folder)
    name, _, config = dataset.partition("/")
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
        builder.download_and_prepare()
    except OSError:
        raise
    except Exception as error:  # TFDS raises many types.
        not_found = isinstance(error, tfds.core.DatasetNotFoundError)
        if not_found or _first_line(error).startswith(
            "ValueError: Parsing builder name"
        ):
            known = ", ".join(f"coinrun/{config}" for config in _configs("coinrun"))
            raise ValueError(
                f"There is no dataset {dataset!r}: genie_tf has {known}, and "
                "procgen/GAME_random_hard for other games; tfds.list_builders() lists "
                "those of TFDS; a dataset folder holds dataset_info.json or arrays.json."
            ) from error
        configs = _configs(name.partition(":")[0])
        config, _, _ = config.partition(":")
        if configs and config not in ("", *configs):
            known = f"the configs of {name!r} are {', '.join(configs)}"
            explain = getattr(tfds.builder_cls(name), "explain_missing", None)
            why = explain(config) if explain else known
            raise ValueError(f"There is no dataset {dataset!r}: {why}.") from error
        raise ValueError(
            f"Dataset {dataset!r} cannot be opened or built: {_first_line(error)}"
        ) from error
    return builder


def _open_folder(folder: Path) -> tfds.core.DatasetBuilder:
    """Return the builder of the dataset in a folder."""
    try:
        # TFDS would import the modules of unknown features.
        json.loads((folder / "features.json").read_bytes(), object_hook=_check_class)
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS raises many types.
        raise DataError(
            f"The description of the dataset in {folder}, dataset_info.json and "
            f"features.json, cannot be read: {_first_line(error)}"
        ) from error


def _check_class(entry: dict) -> None:
    """Raise a ValueError if a feature does not come from TFDS."""
    for key in ("pythonClassName", "type"):
        name = entry.get(key, "tensorflow_datasets.")
        if not str(name).startswith("tensorflow_datasets."):
            raise ValueError(f"{name!r} is not a feature of TFDS")


def _first_line(error: Exception) -> str:
    """Return the type and first line of an error: TFDS writes many lines."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + lines[0] if lines else ''}"


def _configs(name: str) -> list[str]:
    """Return the configs of a TFDS dataset; none if it does not exist."""
    try:
        return list(tfds.builder_cls(name).builder_configs)
    except Exception:  # TFDS raises many types.
        return []


def _find_shards(dataset: str, split: str, info: tfds.core.DatasetInfo) -> list:
    """Return the TFDS file instructions of a split."""
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"Dataset {dataset!r} is stored as {info.file_format.value}; expected "
            "tfrecord."
        )
    try:
        return info.splits[split].file_instructions
    except Exception as error:  # TFDS raises many types.
        raise ValueError(
            f"Dataset {dataset!r} has no split {split!r}: its splits are "
            f"{', '.join(info.splits)}, or parts of them such as 'train[:10%]'."
        ) from error
