"""A lock that lets only one program at a time write in a folder."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other programs that call this.

    The system releases the lock when the program ends, even if it is killed.

    Args:
        folder: an existing folder. Its file `.lock` names the holder of the lock.

    Raises:
        ValueError: if another program holds the lock.
        OSError: if the folder is not writable.
    """
    path = folder / ".lock"
    descriptor = _take(path)
    try:
        holder = (
            f"process {os.getpid()} of {socket.gethostname()}, since "
            f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}"
        )
        os.truncate(descriptor, 0)
        os.write(descriptor, holder.encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # Still locked: nobody else can hold it.
            path.unlink()
        os.close(descriptor)


def _take(path: Path) -> int:
    """Open and lock a file; return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1_000, 0).decode(errors="replace")
            os.close(descriptor)
            raise ValueError(
                f"Another program is training in {path.parent} "
                f"({holder or 'unknown process'}): wait until it ends, stop it, or choose "
                "another --workdir."
            ) from error
        except OSError as error:  # The file system has no locks.
            logging.warning(
                "Cannot keep other programs from writing in %s: %s", path.parent, error
            )
            return descriptor
        # The previous holder might have deleted the file since it was opened.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
