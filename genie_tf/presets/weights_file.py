"""Checks a file of weights before Keras reads it.

A few kilobytes of HDF5 can stand for terabytes (compressed, unwritten or virtual
arrays), for other files (external links and storage) or for an endless maze of groups.
Files that Keras writes hold none of these: only plain arrays, as many bytes as they say.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from genie_tf.files import open_regular

_SMALLEST_NUMBER, _LARGEST_NUMBER = 2, 8  # Bytes.


def count_arrays(variables: Iterable) -> Counter:
    """Return how many variables there are of each shape and kind, "f" or "i"."""
    return Counter(
        (tuple(v.shape), "f" if "float" in v.dtype else "i") for v in variables
    )


def expected_size(arrays: Counter, number: int = 4, overhead: int = 2**12) -> int:
    """Return how many bytes a file of these arrays has, about.

    Args:
        arrays: see `count_arrays`.
        number: bytes of a number.
        overhead: bytes that HDF5 adds to each array; about 2 KB, and less than 4 KB.
    """
    numbers = sum(math.prod(shape) * count for (shape, _), count in arrays.items())
    return number * numbers + overhead * (arrays.total() + 1)


def check_size(path: Path, arrays: Counter) -> None:
    """Check that a file can hold these arrays, and little else.

    Args:
        path: the file.
        arrays: see `count_arrays`.

    Raises:
        OSError: see `open_regular`.
        ValueError: if the file is too small or too large, or larger than the memory.
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
    """Raise a ValueError if so many bytes are more than the memory of this machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ValueError(
            f"{what} need {size / 2**30:,.0f} GiB of memory; this machine has "
            f"{memory / 2**30:,.0f}."
        )


def not_expected(path: Path, reason: str) -> ValueError:
    """Return the error of a file that holds other weights, or anything else."""
    return ValueError(
        f"Expected {path} to hold the weights that its config.json describes: {reason}."
    )


def check_arrays(path: Path, arrays: Counter) -> None:
    """Check that an HDF5 file holds these arrays as Keras writes them.

    Args:
        path: the file, of a size that `check_size` found good.
        arrays: see `count_arrays`.

    Raises:
        ValueError: if it holds others, or anything else.
    """
    import h5py

    # Anything may be broken inside, and HDF5 has many errors.
    broken = OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError
    found, size = Counter(), os.path.getsize(path)
    try:
        with h5py.File(path, "r") as file:
            # Each array is in a group of its own, a few groups deep.
            for name, item in _arrays_in(file, limit=16 * arrays.total() + 16):
                if not _is_plain(item, size):
                    raise _Odd(f"its array {name} is not stored as plain numbers")
                kind = "f" if item.dtype.kind in "fV" else "i"
                found[item.shape, kind] += 1
    except _Odd as odd:
        raise not_expected(path, str(odd)) from odd
    except broken as error:
        raise not_expected(path, "it is not a readable HDF5 file") from error
    if found != arrays:
        raise not_expected(path, "it has arrays of other shapes")


class _Odd(Exception):
    """What no file has that Keras writes."""


def _arrays_in(file, limit: int) -> Iterator:
    """Yield the name and array of each one in a file, in whatever depth."""
    import h5py

    groups = [file]
    while groups:
        group = groups.pop()
        for name in group:
            limit -= 1
            if limit < 0:
                raise _Odd("it has too many groups or arrays")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _Odd(f"it has a link, {name}")
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item.name, item
            else:
                raise _Odd(f"it has a type, {name}")


def _is_plain(array, size: int) -> bool:
    """Whether an array is all in a file of this size, as plain numbers."""
    import h5py

    dtype, layout = array.dtype, array.id.get_create_plist()
    # bfloat16 is written as two bytes of no kind.
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
