"""Local paths, and files and folders that are written whole or not at all."""

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Path() turns gs://bucket into gs:/bucket.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike) -> Path:
    """Return a path of this machine, with a leading `~` expanded.

    Every path that a user gives goes through here before anything is read or written.

    Raises:
        ValueError: if the path has a scheme, such as gs://, or its home folder is unknown.
    """
    text = os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme:
        raise ValueError(
            f"Expected a path on this machine; received {text!r}. Addresses that start "
            f"with {scheme[1]}:// are not supported: copy the files here, or mount them."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"Cannot find the home folder of {text!r}: {error}") from error


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes, and never waits for any.

    Raises:
        OSError: if it is missing, or a folder, a pipe, a device or a socket.
    """
    # Opening a pipe waits for its other end without O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def check_file(path: str | os.PathLike) -> Path:
    """Check that nothing but a file would be replaced, and return its path.

    Raises:
        ValueError: if there is a folder, a pipe or a device; see also `local_path`.
    """
    found = local_path(path)
    if found.exists() and not found.is_file():
        raise ValueError(f"Expected the name of a file to write; {path} is none.")
    return found


def check_new(folder: str | os.PathLike) -> Path:
    """Check that nothing has the name of a folder to write, and return its path.

    Raises:
        ValueError: if something has; see also `local_path`.
    """
    found = local_path(folder)
    if os.path.lexists(found):
        raise ValueError(f"{found} exists already: choose another folder.")
    return found


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: name of the file. Its folder is created if need be.

    Yields:
        A temporary name in the same folder and with the same suffix, to write to; the
        file moves to `path` at the end, and disappears if anything failed.

    Raises:
        ValueError: see `check_file`.
    """
    path = check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    # The suffix stays the last part: writers go by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Write bytes to a file, whole or not at all.

    Raises:
        OSError: if that fails; it names `path`, not the temporary file.
        ValueError: see `check_file`.
    """
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def replacing_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Write a folder whole or not at all.

    Args:
        folder: its name. What is there is replaced: check before that it may be.

    Yields:
        An empty temporary folder next to it, to write in; it takes the folder's place at
        the end, and disappears if anything failed.

    Raises:
        ValueError: see `local_path`.
    """
    # A link stays, and what it leads to is replaced.
    folder = Path(os.path.realpath(local_path(folder)))
    partial, replaced = (
        folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced")
    )
    shutil.rmtree(partial, ignore_errors=True)
    if replaced.exists() and not folder.exists():  # A kill came between two renames.
        replaced.rename(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        _sync_all(partial)
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        partial.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def replacing_files(folder: str | os.PathLike) -> Iterator[Path]:
    """Write several files into a folder, all of them or none.

    Args:
        folder: where they go, next to whatever else is there; created if need be.

    Yields:
        An empty temporary folder inside, to write files in; at the end they take their
        places, in the order of their names, and the temporary folder disappears.

    Raises:
        ValueError: see `local_path`.
    """
    folder = local_path(folder)
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        _sync_all(partial)
        for file in sorted(partial.iterdir()):
            os.replace(file, folder / file.name)
        _sync(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_space(folder: str | os.PathLike, num_bytes: int) -> None:
    """Check that so many bytes can be written into a folder, which need not exist yet.

    Raises:
        ValueError: see `local_path`.
        OSError: if the disk is full, or files may not be that large.
    """
    folder = local_path(folder).absolute()
    existing = next(x for x in (folder, *folder.parents) if x.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        raise OSError(
            f"Expected space for {num_bytes:,} bytes in {folder}: {error.strerror}."
        ) from error


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file or folder would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Delete temporary files of `path` whose program has been killed."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.(\d+){re.escape(path.suffix)}")
    for sibling in path.parent.iterdir():
        match = name.fullmatch(sibling.name)
        if match and not Path("/proc", match[1]).exists():
            sibling.unlink(missing_ok=True)
