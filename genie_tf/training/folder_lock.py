"""A folder that one program at a time writes in."""

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
    """Keep other programs that call this out of a folder.

    The system frees the folder when the program ends, however that comes about.

    Args:
        folder: exists. The file `.lock` in it tells who holds it.

    Raises:
        ValueError: if another program holds it.
        OSError: if nothing can be written in it.
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
        with contextlib.suppress(OSError):  # Before another program can hold it.
            path.unlink()
        os.close(descriptor)


def _take(path: Path) -> int:
    """Open and locks a file; its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1_000, 0).decode(errors="replace")
            os.close(descriptor)
            raise ValueError(
                f"Another program is training in {path.parent} "
                f"({holder or 'which one is not known'}): wait for its end, stop it, or "
                "choose another --workdir."
            ) from error
        except OSError as error:  # Of a file system without locks.
            logging.warning(
                "Other programs can write in %s too: %s", path.parent, error
            )
            return descriptor
        # It may have been deleted, by the program before, since it was opened.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
