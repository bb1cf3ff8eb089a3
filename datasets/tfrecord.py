"""Records of TFRecord files, and the columns of steps in them.

TFDS reads these files from front to back. But the length of each record stands before it,
so that their places are quickly found.
"""

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from genie_tf.errors import DataError


def find_episodes(shard) -> list[tuple[tuple[str, int, int], int]]:
    """Return (file, offset, size) and number of steps of each episode of a shard."""
    if not Path(shard.filename).is_file():  # Opening a pipe would wait for ever.
        raise DataError(
            f"{shard.filename} is missing: copy it again, or delete the folder it is in, "
            "and build the dataset again."
        )
    with open_records(shard.filename) as file:
        records = _find_records(file)
        if len(records) != shard.examples_in_shard:
            raise _damage(shard.filename)
        return [
            ((shard.filename, offset, size), _count_steps(file, offset, size))
            for offset, size in records[shard.skip : shard.skip + shard.take]
        ]


@contextlib.contextmanager
def open_records(filename: str) -> Iterator[BinaryIO]:
    """Open a file of records; name it if what is read there makes no sense."""
    try:
        with open(filename, "rb") as file:
            yield file
    except DataError:
        raise
    except (IndexError, DecodeError) as error:
        raise _damage(filename) from error
    except ValueError as error:
        raise mismatch(filename, str(error)) from error


def read_record(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """Return a record, whose checksum is right.

    Raises:
        DataError: if it is not.
    """
    file.seek(offset)
    record = file.read(size)
    if file.read(4) != _checksum(record):
        raise _damage(file.name)
    return io.BytesIO(record)


def _damage(filename: str) -> DataError:
    return DataError(
        f"{filename} is damaged: delete the folder it is in, and build the dataset again."
    )


def mismatch(filename: str, what: str) -> DataError:
    """Return the error to raise for what the description of a dataset does not say."""
    return DataError(
        f"{filename} does not hold what the dataset's features.json says: {what}."
    )


def _find_records(file: BinaryIO) -> list[tuple[int, int]]:
    """Return the (offset, size) in bytes of each record before the first damaged one."""
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
    """Return the 4 bytes that follow these in a TFRecord file."""
    crc = google_crc32c.value(data)
    # Turned and shifted, because data with a checksum in it has a poor one itself.
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return (masked & 0xFFFFFFFF).to_bytes(4, "little")


def _count_steps(file: BinaryIO, offset: int, size: int) -> int:
    """Count the steps of an episode without reading its frames.

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


class Columns:
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
        """Return the columns in a record, by name; what is encoded stays so.

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
    """Return a column of an example; raises a ValueError if it is not as the feature."""
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


def _find_entries(
    file: BinaryIO, offset: int, size: int
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each entry of a record, and where it starts and ends.

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
    """Return a record of these entries alone: what `_find_entries` takes apart."""
    size = sum(map(len, entries))
    head = [0x0A]  # the tag of Example.features
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return b"".join([bytes([*head, size]), *entries])


def _read_size(file: BinaryIO) -> int:
    """Read a protobuf field's tag and the size of what follows.

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
