"""Checks a weights file before Keras reads it.

A few kilobytes of HDF5 can stand for terabytes (compressed, unwritten or virtual
arrays), other files (external links and storage) or endlessly nested groups. Files
written by Keras contain only plain arrays, stored in full.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from genie_tf.files import open_regular

_SMALLEST_NUMBER, _LARGEST_NUMBER = 2, 8  # Bytes per number.


def count_arrays(variables: Iterable) -> Counter:
    """Return the number of variables of each shape and kind, "f" or "i"."""
    return Counter(
        (tuple(v.shape), "f" if "float" in v.dtype else "i") for v in variables
    )


def expected_size(arrays: Counter, number: int = 4, overhead: int = 2**12) -> int:
    """Return the approximate size in bytes of a file with these arrays.

    Args:
        arrays: see `count_arrays`.
        number: bytes per number.
        overhead: bytes that HDF5 adds per array; about 2 KB, and less than 4 KB.
    """
    numbers = sum(math.prod(shape) * count for (shape, _), count in arrays.items())
    return number * numbers + overhead * (arrays.total() + 1)


def check_size(path: Path, arrays: Counter) -> None:
    """Check that a file has about the size of these arrays.

    Args:
        path: the file.
        arrays: see `count_arrays`.

    Raises:
        OSError: see `open_regular`.
        ValueError: if the file is too small, too large, or larger than the memory.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    least = expected_size(arrays, _SMALLEST_NUMBER, overhead=0)
    most = expected_size(arrays, _LARGEST_NUMBER, overhead=2**13)
    if not least <= size <= most:
        reason = f"they would take {least:,} to {most:,} bytes; it has {size:,}"
        raise not_expected(path, reason)
    check_memory(f"The weights in {path}", size)


def check_memory(what: str, size: int) -> None:
    """Raise a ValueError if `size` bytes exceed the memory of this machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ValueError(
            f"{what} need {size / 2**30:,.0f} GiB of memory; this machine has "
            f"{memory / 2**30:,.0f}."
        )


def not_expected(path: Path, reason: str) -> ValueError:
    """Return the error for a file that does not hold the expected weights."""
    return ValueError(
        f"Expected {path} to hold the weights that its config.json describes: {reason}."
    )


def check_arrays(path: Path, arrays: Counter) -> None:
    """Check that an HDF5 file holds exactly these arrays, as Keras writes them.

    Args:
        path: the file, which passed `check_size`.
        arrays: see `count_arrays`.

    Raises:
        ValueError: if it holds anything else.
    """
    import h5py

    # h5py raises all of these on damaged files.
    broken = OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError
    stored, size = Counter(), os.path.getsize(path)
    try:
        with h5py.File(path, "r") as file:
            # Each array has its own group, a few groups deep.
            for name, item in _arrays_in(file, limit=16 * arrays.total() + 16):
                if not _is_plain(item, size):
                    raise _UnexpectedError(
                        f"its array {name} is not stored as plain numbers"
                    )
                kind = "f" if item.dtype.kind in "fV" else "i"
                stored[item.shape, kind] += 1
    except _UnexpectedError as error:
        raise not_expected(path, str(error)) from error
    except broken as error:
        raise not_expected(path, "it is not a readable HDF5 file") from error
    if stored != arrays:
        raise not_expected(path, "it has arrays of other shapes")


class _UnexpectedError(Exception):
    """A file content that Keras never writes."""


def _arrays_in(file, limit: int) -> Iterator:
    """Yield the name and array of each array in a file, at any depth."""
    import h5py

    groups = [file]
    while groups:
        group = groups.pop()
        for name in group:
            limit -= 1
            if limit < 0:
                raise _UnexpectedError("it has too many groups or arrays")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _UnexpectedError(f"it has a link, {name}")
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item.name, item
            else:
                raise _UnexpectedError(f"it has a type, {name}")


def _is_plain(array, size: int) -> bool:
    """Return whether an array is stored in full in this file, as plain numbers."""
    import h5py

    dtype, layout = array.dtype, array.id.get_create_plist()
    # bfloat16 is written as two untyped bytes.
    numbers = dtype.kind in "fiu" or dtype.str == "|V2"
    offset = array.id.get_offset()
    return (
        numbers
        and dtype.itemsize <= _LARGEST_NUMBER
        and layout.get_layout() == h5py.h5d.CONTIGUOUS
        and layout.get_external_count() == 0
        and array.id.get_storage_size() == array.nbytes
        and offset is not None
        and offset + array.nbytes <= size
    )
