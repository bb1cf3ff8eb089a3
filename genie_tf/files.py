"""Local paths, and files and folders that are written completely or not at all."""

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
    """Return a path on this machine, with a leading `~` expanded.

    Every path from a user goes through here before anything is read or written.

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


def private_folder(name: str) -> Path:
    """Return a folder in the user's cache that only this user can read and write.

    The cache is `~/.cache/genie_tf`, or below XDG_CACHE_HOME. Programs are kept there:
    no one else may replace them.

    Args:
        name: name of the folder, which is made if it does not exist.

    Raises:
        OSError: if there is no such folder.
        ValueError: if the home folder is unknown.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(root) if os.path.isabs(root) else local_path("~/.cache")
    folder = root / "genie_tf" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.getuid()
        or stat.S_IMODE(status.st_mode) != 0o700
    ):
        raise OSError(f"{folder} is open to others.")
    return folder


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes, without ever blocking.

    Raises:
        OSError: if it is missing, or a folder, a pipe, a device or a socket.
    """
    # Without O_NONBLOCK, opening a pipe waits for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def check_file(path: str | os.PathLike) -> Path:
    """Check that a path can be written as a file, and return it.

    Raises:
        ValueError: if it is a folder, a pipe or a device; see also `local_path`.
    """
    file = local_path(path)
    if file.exists() and not file.is_file():
        raise ValueError(f"Expected the name of a file to write; {path} is not a file.")
    return file


def check_new(folder: str | os.PathLike) -> Path:
    """Check that a path does not exist yet, and return it.

    Raises:
        ValueError: if it exists; see also `local_path`.
    """
    folder = local_path(folder)
    if os.path.lexists(folder):
        raise ValueError(f"{folder} exists already: choose another folder.")
    return folder


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file completely or not at all.

    Args:
        path: name of the file. Its folder is created if missing.

    Yields:
        A temporary path to write to, in the same folder and with the same suffix. The
        file moves to `path` at the end, and is deleted if anything fails.

    Raises:
        ValueError: see `check_file`.
    """
    path = check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    # Writers choose the format by the suffix, so it must stay.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Write bytes to a file, completely or not at all.

    Raises:
        OSError: if writing fails; it names `path`, not the temporary file.
        ValueError: see `check_file`.
    """
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def replacing_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Write a folder completely or not at all.

    Args:
        folder: name of the folder. Its old content is replaced without a check.

    Yields:
        An empty temporary folder next to it, to write in. It replaces the folder at the
        end, and is deleted if anything fails.

    Raises:
        ValueError: see `local_path`.
    """
    # A link stays, and its target is replaced.
    folder = Path(os.path.realpath(local_path(folder)))
    partial, replaced = (
        folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced")
    )
    shutil.rmtree(partial, ignore_errors=True)
    if replaced.exists() and not folder.exists():  # Killed between two renames.
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
        folder: folder of the files, which can have other content; created if missing.

    Yields:
        An empty temporary folder inside it, to write files in. At the end they move to
        `folder` in the order of their names, and the temporary folder is deleted.

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
    """Check that a folder, which need not exist yet, has space for `num_bytes`.

    Raises:
        ValueError: see `local_path`.
        OSError: if the disk is full, or the system limits files to less.
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
    """Delete temporary files of `path` left by killed programs."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.(\d+){re.escape(path.suffix)}")
    for sibling in path.parent.iterdir():
        match = name.fullmatch(sibling.name)
        if match and not Path("/proc", match[1]).exists():
            sibling.unlink(missing_ok=True)
