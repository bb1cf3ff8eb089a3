"""Records of TFRecord files, and the columns of steps in them.

TFDS reads these files from front to back. But the size of each record precedes it, so
records are located quickly.
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
    """Return the (file, offset, size) and the number of steps of a shard's episodes."""
    if not Path(shard.filename).is_file():  # Opening a pipe would block forever.
        raise DataError(
            f"{shard.filename} is missing: copy it again, or delete its folder and "
            "rebuild the dataset."
        )
    with open_records(shard.filename) as file:
        records = _find_records(file)
        if len(records) != shard.examples_in_shard:
            raise _damage_error(shard.filename)
        return [
            ((shard.filename, offset, size), _count_steps(file, offset, size))
            for offset, size in records[shard.skip : shard.skip + shard.take]
        ]


@contextlib.contextmanager
def open_records(filename: str) -> Iterator[BinaryIO]:
    """Open a file of records, and name it in errors about its content."""
    try:
        with open(filename, "rb") as file:
            yield file
    except DataError:
        raise
    except (IndexError, DecodeError) as error:
        raise _damage_error(filename) from error
    except ValueError as error:
        raise mismatch_error(filename, str(error)) from error


def read_record(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """Return a record after verifying its checksum.

    Raises:
        DataError: if the checksum differs.
    """
    file.seek(offset)
    record = file.read(size)
    if file.read(4) != _checksum(record):
        raise _damage_error(file.name)
    return io.BytesIO(record)


def _damage_error(filename: str) -> DataError:
    return DataError(
        f"{filename} is damaged: delete its folder and rebuild the dataset."
    )


def mismatch_error(filename: str, reason: str) -> DataError:
    """Return the error to raise if a file does not match the dataset's features."""
    return DataError(
        f"{filename} does not match the dataset's features.json: {reason}."
    )


def _find_records(file: BinaryIO) -> list[tuple[int, int]]:
    """Return (offset, size) in bytes of each record before the first damaged one."""
    # A record: size (8 bytes), checksum (4), data, checksum (4).
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
    """Return the 4-byte checksum that follows data in a TFRecord file."""
    crc = google_crc32c.value(data)
    # Masked, because checksums of data that contain checksums are weak.
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return (masked & 0xFFFFFFFF).to_bytes(4, "little")


def _count_steps(file: BinaryIO, offset: int, size: int) -> int:
    """Count the steps of an episode without reading its frames.

    Each value of `is_first`, 0 or 1, takes one byte.
    """
    for name, _, end in _find_entries(file, offset, size):
        if name == b"steps/is_first":
            size = 0
            # The entry's Feature; its int64_list; the packed values of that list.
            # Empty ones may be omitted.
            for _ in range(3):
                if file.tell() == end:
                    return 0
                size = _read_size(file)
            if file.tell() + size != end:
                raise IndexError
            return size
    raise ValueError("there is no steps/is_first")


class Columns:
    """Reader of some columns of a record: features of steps, or of another parent."""

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
        """Return the columns of a record by name; encoded values stay encoded.

        Raises:
            ValueError: if a column does not match its feature or the number of steps.
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
    """Return a column of an example; raise a ValueError unless it fits the feature."""
    column = example.features.feature[name]
    stored = feature.get_serialized_info()
    kind = {"f": "float_list", "O": "bytes_list"}.get(
        np.dtype(stored.np_dtype).kind, "int64_list"
    )
    values = getattr(column, kind).value
    number = num_steps * math.prod(stored.shape)
    stored_kind = column.WhichOneof("kind")
    if not stored_kind:
        raise ValueError(f"{name} is missing")
    if stored_kind != kind or len(values) != number:
        count = len(getattr(column, stored_kind).value)
        raise ValueError(
            f"{name} has {count} values in a {stored_kind}, not {number} in a {kind}"
        )
    if kind == "bytes_list":
        return list(values)
    dtype = feature.np_dtype
    if kind == "float_list":
        array = np.array(values, dtype)
    else:
        integers = np.array(values, np.int64)
        array = integers.astype(dtype)
        # TFDS stores uint64 as int64 of the same bits.
        if dtype != np.uint64 and np.any(array != integers):
            raise ValueError(f"{name} has numbers that are not {np.dtype(dtype)}")
    return array.reshape(-1, *feature.shape)


def _find_entries(
    file: BinaryIO, offset: int, size: int
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each entry of a record.

    The record is a tf.train.Example, a map whose entries can be skipped. After each
    name, the file is at the entry's value.

    Raises:
        IndexError: if an entry is longer than the record.
    """
    file.seek(offset)
    _read_size(file)  # Example.features, its only field
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
    """Return a record of only these entries: the inverse of `_find_entries`."""
    size = sum(map(len, entries))
    head = [0x0A]  # the tag of Example.features
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return b"".join([bytes([*head, size]), *entries])


def _read_size(file: BinaryIO) -> int:
    """Read the tag and the size of a protobuf field.

    Raises:
        IndexError: at the end of the file.
    """
    file.read(1)  # All tags in these records fit in one byte.
    size = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)[0]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size
    raise IndexError
