"""Random access to the episodes of an RLDS dataset of TFDS.

TFDS reads TFRecord files from front to back, but the length of each record stands before
it, so that their places are quickly found.
"""

import collections
import contextlib
import functools
import io
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import deflate
import google_crc32c
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from genie_tf.datasets.checks import several_sizes, to_int32
from genie_tf.datasets.frames import fit_frame, fit_frames
from genie_tf.datasets.threads import map_images
from google.protobuf.message import DecodeError
from PIL import Image, UnidentifiedImageError
from tensorflow_datasets.proto import tf_example_pb2

from genie_tf.errors import DataError
from genie_tf.files import local_path

# What an observation must be to be shown.
_FRAME = "frames of uint8 (height, width, 3), red, green and blue from 0 to 255"


class RldsEpisodes:
    """The episodes of one split of an RLDS dataset, read when they are needed.

    Episodes without steps are left out, and counted in a warning.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard", which is built
            first if it has not been; or a folder with a dataset of TFDS.
        split: such as "train" or "train[:10%]".
        data_dir: where TFDS keeps its datasets, if not in its usual place.
        camera: which of the observations are the frames; by default "observation"
            itself or its "image".
        num_kept: how many episodes to keep in memory, still compressed; 512 of CoinRun
            are about 0.5 GB.
        video: whether to read frames.
        tokenizer: the `presets.digest` of the tokenizer whose tokens are read, if the
            dataset has tokens.
        frame_size: (height, width) that frames are scaled to fill, if not as they are.

    Attributes:
        lengths: int64 (episodes,), the number of steps of each, at least 1.
        num_bytes: what they take on disk.
        frame_shape: (height, width, 3) of the first frame, if there is one and frames
            are read. Without `frame_size`, others may differ.
        tokens_of: if tokens are read, the number of frames of the clips that they were
            made of, or 1 if each is of its frame alone; otherwise None.

    Raises:
        DataError: if a file is damaged or missing, or holds something else than the
            dataset's features say; on reading too.
        ValueError: if there is no such dataset, config, split or camera, if it does
            not hold RLDS episodes with frames, or if its tokens are another tokenizer's.
    """

    def __init__(
        self,
        dataset: str,
        split: str,
        data_dir: str | None = None,
        camera: str | None = None,
        num_kept: int = 1,
        video: bool = True,
        tokenizer: str | None = None,
        frame_size: tuple[int, int] | None = None,
    ):
        info = _prepare(dataset, data_dir).info
        frame_name, frame = _select_frame(dataset, info.features, camera)
        steps = info.features["steps"]
        numbers = _select_numbers(steps)
        self._numbers = _Columns(numbers)
        self._dataset = dataset
        self._metadata = _select_metadata(info.features)
        columns = {name: numbers[name] for name in ("action",) if name in numbers}
        self._decoders = {}
        if video:
            columns[frame_name] = frame
            decoder = _frame_decoder(frame, frame_size, dataset)
            self._decoders["video"] = frame_name, decoder
        self.tokens_of = None
        if tokenizer is not None and "tokenizer" in (info.metadata or {}):
            self.tokens_of = _check_tokenizer(dataset, info.metadata, tokenizer)
            columns["tokens"] = tokens = _select_tokens(dataset, steps)
            self._decoders["tokens"] = "tokens", _tensor_decoder(tokens)
        self._columns = _Columns(columns)
        self._records = []
        lengths = []
        num_empty = 0
        for shard in _find_shards(dataset, split, info):
            for record, length in _find_episodes(shard):
                if length:
                    self._records.append(record)
                    lengths.append(length)
                else:
                    num_empty += 1
        if num_empty:
            logging.warning(
                "%s, split %s: %d of %d episodes have no steps and are left out.",
                *(dataset, split, num_empty, num_empty + len(lengths)),
            )
        self.lengths = np.array(lengths, np.int64)
        # With the size and the checksums around each record.
        self.num_bytes = sum(size + 16 for _, _, size in self._records)
        self._read = functools.lru_cache(maxsize=num_kept)(self._read)
        # What the features say is not taken on trust.
        first = self.read_clips([(0, 0)], 1) if lengths else {}
        self.frame_shape = first["video"].shape[2:] if "video" in first else None

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Returns the "video", "action" and "tokens" of clips, (episode, start) pairs.

        The frames of a clip are `stride` steps apart; an action is that of the first of
        these. What the dataset does not have is left out.
        """
        parts = collections.defaultdict(list)
        for episode, start in clips:
            steps = self._read(episode)
            last = start + (clip_length - 1) * stride
            for name, (column, _) in self._decoders.items():
                parts[name].append(steps[column][start : last + 1 : stride])
            if "action" in steps:
                parts["action"].append(steps["action"][start:last:stride])
        batch = {}
        for name, (_, decode) in self._decoders.items():
            steps = self._decode(decode, parts[name], [episode for episode, _ in clips])
            batch[name] = steps.reshape(-1, clip_length, *steps.shape[1:])
        if "tokens" in batch:
            batch["tokens"] = batch["tokens"].astype(np.int32)
        if "action" in parts:
            batch["action"] = np.stack(parts["action"])
        return batch

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns all frames of an episode, and its discrete actions if it has any."""
        steps = self._read(episode)
        column, decode = self._decoders["video"]
        return self._decode(decode, [steps[column]], [episode]), steps.get("action")

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Returns the "action" and "reward" of each step, those that the dataset has.

        Actions that are not discrete are left out. The frames are not even read, hence
        no checksum is compared.
        """
        if not self._numbers.names:
            return {}
        filename, offset, size = self._records[episode]
        with _open_shard(filename) as file:
            length = self.lengths[episode]
            return _with_int32_action(
                self._numbers.read(file, offset, size, length), filename
            )

    def read_metadata(self, name: str) -> np.ndarray:
        """Returns an integer of the metadata of each episode: int32 (episodes,).

        Raises:
            ValueError: if the dataset has none of that name.
        """
        if name not in self._metadata:
            raise ValueError(
                f"The episodes of dataset {self._dataset!r} have no whole number "
                f"{name!r} in their metadata: those they have are "
                f"{', '.join(sorted(self._metadata)) or 'none'}."
            )
        columns = _Columns({name: self._metadata[name]}, "episode_metadata")
        values = []
        for filename, offset, size in self._records:
            with _open_shard(filename) as file:
                values.append(columns.read(file, offset, size, 1)[name])
        numbers = np.concatenate([np.zeros(0, np.int64), *values])
        return to_int32(numbers, f"Dataset {self._dataset!r}", name)

    def _read(self, episode: int) -> dict[str, np.ndarray]:
        """Returns the columns of an episode, its frames still encoded."""
        filename, offset, size = self._records[episode]
        with _open_shard(filename) as file:
            file.seek(offset)
            record = file.read(size)
            if file.read(4) != _checksum(record):
                raise _damage(filename)
            length = self.lengths[episode]
            columns = self._columns.read(io.BytesIO(record), 0, size, length)
            return _with_int32_action(columns, filename)

    def _decode(
        self, decode: Callable, parts: list[Sequence], episodes: list[int]
    ) -> np.ndarray:
        """Decodes the steps of some episodes, together; names the file if that fails."""
        try:
            return decode(list(itertools.chain(*parts)))
        except DataError:
            raise
        except Exception:  # Decoders raise many kinds.
            for part, episode in zip(parts, episodes, strict=True):
                try:
                    decode(part)
                except Exception as error:
                    filename, _, _ = self._records[episode]
                    raise _mismatch(
                        filename, f"a step cannot be decoded ({error})"
                    ) from error
            raise


class _Columns:
    """Some of the features of steps, or others, which are columns of a record."""

    def __init__(
        self,
        features: dict[str, tfds.features.FeatureConnector],
        parent: str = "steps",
    ):
        self.names = {f"{parent}/{name}".encode() for name in features}
        self._features = features
        self._parent = parent

    def read(
        self, file: BinaryIO, offset: int, size: int, num_steps: int
    ) -> dict[str, np.ndarray | list[bytes]]:
        """Returns the columns in a record, by name; what is encoded stays so.

        Raises:
            DataError: if they are not what the features say, for so many steps.
        """
        entries = []
        for name, start, end in _find_entries(file, offset, size):
            if name in self.names:
                file.seek(start)
                entries.append(file.read(end - start))
        example = tf_example_pb2.Example.FromString(_make_record(entries))
        return {
            name: _read_column(example, f"{self._parent}/{name}", feature, num_steps)
            for name, feature in self._features.items()
        }


def _read_column(
    example: tf_example_pb2.Example,
    name: str,
    feature: tfds.features.FeatureConnector,
    num_steps: int,
) -> np.ndarray | list[bytes]:
    """Returns a column of an example; raises a ValueError if it is not as the feature."""
    column = example.features.feature[name]
    stored = feature.get_serialized_info()
    kind = {"f": "float_list", "O": "bytes_list"}.get(
        np.dtype(stored.np_dtype).kind, "int64_list"
    )
    values = getattr(column, kind).value
    number = num_steps * math.prod(stored.shape)
    found = column.WhichOneof("kind")
    if not found:
        raise ValueError(f"{name} is missing")
    if found != kind or len(values) != number:
        count = len(getattr(column, found).value)
        raise ValueError(
            f"{name} has {count} values in a {found}, not {number} in a {kind}"
        )
    if kind == "bytes_list":
        return list(values)
    dtype = feature.np_dtype
    if kind == "float_list":
        array = np.array(values, dtype)
    else:
        integers = np.array(values, np.int64)
        array = integers.astype(dtype)
        # TFDS stores the bits of uint64 as int64.
        if dtype != np.uint64 and np.any(array != integers):
            raise ValueError(f"{name} has numbers that are not {np.dtype(dtype)}")
    return array.reshape(-1, *feature.shape)


def _with_int32_action(columns: dict, filename: str) -> dict:
    if "action" in columns:
        columns["action"] = to_int32(columns["action"], filename, "action")
    return columns


def split_names(dataset: str, data_dir: str | None = None) -> list[str]:
    """Returns the splits of a dataset, which is built first if it has not been.

    Raises:
        ValueError: if there is no such dataset or config.
    """
    return list(_prepare(dataset, data_dir).info.splits)


def _prepare(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that is ready to be read."""
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
    except Exception as error:  # TFDS raises many kinds.
        not_found = isinstance(error, tfds.core.DatasetNotFoundError)
        if not_found or _first_line(error).startswith(
            "ValueError: Parsing builder name"
        ):
            known = ", ".join(f"coinrun/{config}" for config in _configs("coinrun"))
            raise ValueError(
                f"There is no dataset {dataset!r}: genie_tf has {known}; "
                "tfds.list_builders() lists those of TFDS; a folder of a dataset holds "
                "dataset_info.json or arrays.json."
            ) from error
        configs = _configs(name.partition(":")[0])
        if configs and config.partition(":")[0] not in ("", *configs):
            raise ValueError(
                f"There is no dataset {dataset!r}: the configs of {name!r} are "
                f"{', '.join(configs)}."
            ) from error
        raise ValueError(
            f"Dataset {dataset!r} cannot be opened or built: {_first_line(error)}"
        ) from error
    return builder


def _open_folder(folder: Path) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that a folder holds."""
    try:
        # TFDS imports the modules of the features that it does not know.
        json.loads((folder / "features.json").read_bytes(), object_hook=_check_class)
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS raises many kinds.
        raise DataError(
            f"The description of the dataset in {folder}, dataset_info.json and "
            f"features.json, cannot be read: {_first_line(error)}"
        ) from error


def _check_class(entry: dict) -> None:
    """Raises a ValueError if a feature is not of TFDS itself."""
    for key in ("pythonClassName", "type"):
        name = entry.get(key, "tensorflow_datasets.")
        if not str(name).startswith("tensorflow_datasets."):
            raise ValueError(f"{name!r} is not a feature of TFDS")


def _first_line(error: Exception) -> str:
    """Returns the first line of an error: TFDS writes many."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + lines[0] if lines else ''}"


def _configs(name: str) -> list[str]:
    """Returns the configs of a dataset of TFDS; none if there is no such dataset."""
    try:
        return list(tfds.builder_cls(name).builder_configs)
    except Exception:  # TFDS raises many kinds.
        return []


def _find_shards(dataset: str, split: str, info: tfds.core.DatasetInfo) -> list:
    """Returns the TFDS file instructions of a split."""
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"Dataset {dataset!r} is stored as {info.file_format.value}, and only "
            "tfrecord can be read."
        )
    try:
        return info.splits[split].file_instructions
    except Exception as error:  # TFDS raises many kinds.
        raise ValueError(
            f"Dataset {dataset!r} has no split {split!r}: its splits are "
            f"{', '.join(info.splits)}, or parts of them such as 'train[:10%]'."
        ) from error


def _find_episodes(shard) -> list[tuple[tuple[str, int, int], int]]:
    """Returns (file, offset, size) and number of steps of each episode of a shard."""
    if not Path(shard.filename).is_file():  # Opening a pipe would wait for ever.
        raise DataError(
            f"{shard.filename} is missing: copy it again, or delete the folder it is in, "
            "and build the dataset again."
        )
    with _open_shard(shard.filename) as file:
        records = _find_records(file)
        if len(records) != shard.examples_in_shard:
            raise _damage(shard.filename)
        return [
            ((shard.filename, offset, size), _count_steps(file, offset, size))
            for offset, size in records[shard.skip : shard.skip + shard.take]
        ]


def _select_frame(
    dataset: str, features: tfds.features.FeaturesDict, camera: str | None
) -> tuple[str, tfds.features.FeatureConnector]:
    """Returns the name of the frames' column, and its feature."""
    steps = dict(features).get("steps")
    needed = ("observation", "is_first")
    if not isinstance(steps, tfds.features.Dataset) or any(
        x not in steps for x in needed
    ):
        raise ValueError(
            f"Dataset {dataset!r} does not hold RLDS episodes: expected a dataset of "
            "'steps' with an 'observation' and 'is_first', found "
            f"{', '.join(features)}."
        )
    observation = steps["observation"]
    if isinstance(observation, tfds.features.FeaturesDict):
        cameras = sorted(key for key, seen in observation.items() if _is_frame(seen))
        camera = camera or "image"
        if camera in cameras:
            return f"observation/{camera}", observation[camera]
        others = ", ".join(
            f"{key} ({_describe(seen)})"
            for key, seen in sorted(observation.items())
            if key not in cameras
        )
        raise ValueError(
            f"The observations of dataset {dataset!r} have no camera {camera!r}: those "
            f"they have are {', '.join(cameras) or 'none'}"
            + (f"; {others} cannot be used, expected {_FRAME}." if others else ".")
        )
    if camera is not None:
        raise ValueError(
            f"The observations of dataset {dataset!r} are of one camera without a name; "
            f"received {camera!r}."
        )
    if not _is_frame(observation):
        raise ValueError(
            f"The observations of dataset {dataset!r} are {_describe(observation)}; "
            f"expected {_FRAME}: write the dataset again with its frames in this form."
        )
    return "observation", observation


def _select_numbers(
    steps: tfds.features.Dataset,
) -> dict[str, tfds.features.FeatureConnector]:
    """Returns the features of discrete actions and of rewards, if there are any."""
    kinds = {"action": "biu", "reward": "iuf"}
    return {
        name: steps[name]
        for name, kind in kinds.items()
        if name in steps and _is_scalar(steps[name], kind)
    }


def _select_metadata(
    features: tfds.features.FeaturesDict,
) -> dict[str, tfds.features.FeatureConnector]:
    """Returns the features of whole numbers among the metadata of an episode."""
    metadata = dict(features).get("episode_metadata")
    if not isinstance(metadata, tfds.features.FeaturesDict):
        return {}
    return {key: value for key, value in metadata.items() if _is_scalar(value, "iu")}


def _is_scalar(feature: tfds.features.FeatureConnector, kinds: str) -> bool:
    return feature.shape == () and np.dtype(feature.np_dtype).kind in kinds


def _is_frame(feature: tfds.features.FeatureConnector) -> bool:
    """Whether a feature is an image, or a Tensor of fixed shape, as `_FRAME` says."""
    shape = feature.shape
    return (
        isinstance(feature, tfds.features.Image)
        or (type(feature) is tfds.features.Tensor and None not in shape)
    ) and (len(shape) == 3 and shape[-1] == 3 and feature.np_dtype == np.uint8)


def _describe(feature: tfds.features.FeatureConnector) -> str:
    kind = type(feature).__name__
    if not isinstance(feature.shape, tuple) or not feature.shape:
        return kind
    dtype = getattr(feature.np_dtype, "__name__", feature.np_dtype)
    return f"{kind} of {dtype} {feature.shape}"


def _frame_decoder(
    feature: tfds.features.FeatureConnector,
    size: tuple[int, int] | None,
    dataset: str,
) -> Callable[[Sequence], np.ndarray]:
    """Returns the function that decodes frames, to uint8 (frames, height, width, 3).

    They are scaled to fill a size, if one is given.
    """
    if isinstance(feature, tfds.features.Image):

        def decode_images(encoded: Sequence[bytes]) -> np.ndarray:
            def decode(image):
                frame = _decode_image(image, feature.shape)
                return fit_frame(frame, size) if size else frame

            frames = map_images(decode, encoded)
            sizes = sorted({frame.shape[:2] for frame in frames})
            if len(sizes) > 1:
                raise several_sizes(f"Dataset {dataset!r}", sizes)
            return np.stack(frames)

        return decode_images

    decode = _tensor_decoder(feature)
    return (lambda steps: fit_frames(decode(steps), size)) if size else decode


def _decode_image(encoded: bytes, shape: tuple[int | None, ...]) -> np.ndarray:
    """Returns an image as uint8 (height, width, 3)."""
    # From these formats TFDS reads single images.
    formats = "PNG", "JPEG", "BMP"
    try:
        opened = Image.open(io.BytesIO(encoded), formats=formats)
    except UnidentifiedImageError as error:
        raise ValueError(f"it is not {', '.join(formats)}") from error
    with opened as image:
        found = image.height, image.width
        if any(side not in (None, f) for side, f in zip(shape, found)):
            raise ValueError(f"an image is {found}, not {shape}")
        return np.asarray(image.convert("RGB"))


def _tensor_decoder(
    feature: tfds.features.Tensor,
) -> Callable[[Sequence], np.ndarray]:
    """Returns the function that decodes tensors of fixed shape, to (steps, *shape)."""
    shape, dtype = feature.shape, np.dtype(feature.np_dtype)
    size = math.prod(shape) * dtype.itemsize
    encoding = tfds.features.Encoding(feature.to_json_content().encoding)
    if encoding == tfds.features.Encoding.NONE:
        return np.stack

    def decode(steps: Sequence[bytes]) -> np.ndarray:
        """As the feature does, from zlib in less than half the time."""
        if encoding == tfds.features.Encoding.ZLIB:
            # Stops where a stream becomes larger than that.
            steps = [deflate.zlib_decompress(step, size) for step in steps]
        if any(len(step) != size for step in steps):
            raise ValueError(f"it is not of {size} bytes")
        return np.frombuffer(bytearray().join(steps), dtype).reshape(-1, *shape)

    return decode


def _select_tokens(
    dataset: str, steps: tfds.features.Dataset
) -> tfds.features.FeatureConnector:
    """Returns the feature of tokens."""
    tokens = steps["tokens"] if "tokens" in steps else None
    if (
        type(tokens) is not tfds.features.Tensor
        or len(tokens.shape) != 1
        or None in tokens.shape
        or tokens.np_dtype != np.uint16
    ):
        raise DataError(
            f"The tokens of dataset {dataset!r} are {tokens}; expected a Tensor of "
            "uint16 (patches,): make them again with genie-tokenize."
        )
    return tokens


def _check_tokenizer(dataset: str, made_by: Mapping, tokenizer: str) -> int:
    """Returns the number of frames that tokens were made of, see `tokens_of`."""
    if made_by["tokenizer"] != tokenizer:
        raise ValueError(
            f"The tokens of dataset {dataset!r} were made by another tokenizer than the "
            "one given: give that one, or make them anew with genie-tokenize."
        )
    clip_length = made_by.get("clip_length") or 1
    if not isinstance(clip_length, int) or clip_length < 1:
        raise DataError(
            f"The metadata of dataset {dataset!r} give tokens of clips of {clip_length!r} "
            "frames: make them again with genie-tokenize."
        )
    return clip_length


def _find_records(file: BinaryIO) -> list[tuple[int, int]]:
    """Returns the (offset, size) in bytes of each record before the first damaged one."""
    # A record is its size in 8 bytes, a checksum in 4, its data, a checksum in 4.
    records = []
    end = file.seek(0, 2)
    offset = 0
    while offset < end:
        file.seek(offset)
        head = file.read(8)
        size = int.from_bytes(head, "little")
        if file.read(4) != _checksum(head) or offset + size + 16 > end:
            break
        records.append((offset + 12, size))
        offset += size + 16
    return records


def _checksum(data: bytes) -> bytes:
    """Returns the 4 bytes that follow these in a TFRecord file."""
    crc = google_crc32c.value(data)
    # Turned and shifted, because data with a checksum in it has a poor one itself.
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return (masked & 0xFFFFFFFF).to_bytes(4, "little")


@contextlib.contextmanager
def _open_shard(filename: str) -> Iterator[BinaryIO]:
    """Opens a file of records; names it if what is read there makes no sense."""
    try:
        with open(filename, "rb") as file:
            yield file
    except DataError:
        raise
    except (IndexError, DecodeError) as error:
        raise _damage(filename) from error
    except ValueError as error:
        raise _mismatch(filename, str(error)) from error


def _damage(filename: str) -> DataError:
    return DataError(
        f"{filename} is damaged: delete the folder it is in, and build the dataset anew."
    )


def _mismatch(filename: str, what: str) -> DataError:
    return DataError(
        f"{filename} does not hold what the dataset's features.json says: {what}."
    )


def _count_steps(file: BinaryIO, offset: int, size: int) -> int:
    """Counts the steps of an episode without reading its frames.

    The values of `is_first`, 0 or 1, take one byte each.
    """
    for name, _, end in _find_entries(file, offset, size):
        if name == b"steps/is_first":
            size = 0
            # The entry's value, a Feature; its int64_list; and that one's values, packed.
            # What holds nothing may be left out.
            for _ in range(3):
                if file.tell() == end:
                    return 0
                size = _read_size(file)
            if file.tell() + size != end:
                raise IndexError
            return size
    raise ValueError("there is no steps/is_first")


def _find_entries(
    file: BinaryIO, offset: int, size: int
) -> Iterator[tuple[bytes, int, int]]:
    """Yields the name of each entry of a record, and where it starts and ends.

    The record is a tf.train.Example, a map whose entries can be skipped from the first
    to the next. After each name the file is at the entry's value.

    Raises:
        IndexError: if an entry is longer than the record.
    """
    file.seek(offset)
    _read_size(file)  # Example.features, all there is in it
    start = file.tell()
    while start < offset + size:
        entry_size = _read_size(file)
        end = file.tell() + entry_size
        name_size = _read_size(file)
        if max(end, file.tell() + name_size) > offset + size:
            raise IndexError
        yield file.read(name_size), start, end
        file.seek(end)
        start = end


def _make_record(entries: list[bytes]) -> bytes:
    """Returns a record of these entries alone: what `_find_entries` takes apart."""
    size = sum(map(len, entries))
    head = [0x0A]  # the tag of Example.features
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return b"".join([bytes([*head, size]), *entries])


def _read_size(file: BinaryIO) -> int:
    """Reads a protobuf field's tag and the size of what follows.

    Raises:
        IndexError: at the end of the file.
    """
    file.read(1)  # all tags met here fit in one byte
    size = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)[0]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size
    raise IndexError
