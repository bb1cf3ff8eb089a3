"""Compiled programs, kept from one run to the next.

XLA takes longer to compile a frame than to make a hundred. What it has compiled is kept in
`~/.cache/genie_tf` (or below XDG_CACHE_HOME), for this machine and these versions.

Programs are code, so they are only kept where nobody but this user can write, and only
used as they were written. TensorFlow ends a process that can't read or write an entry of
its cache: it gets a folder of this process only, with a copy of the entries that are whole.
What it adds is kept afterward.
"""

import atexit
import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import platform
import resource
import shutil
import stat
import tempfile
from pathlib import Path

from genie_tf.files import local_path, replacing

_VARIABLE = "GENIE_TF_CACHE"
_MAX_BYTES = 128 * 2**20
_FREE_BYTES = 512 * 2**20  # So that no entry is too large to be written.
_PREFIX = "genie_tf_programs_"
_DISTRIBUTIONS = ("genie_tf", "keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib")

_cache: "ProgramCache | None" = None  # That this process uses.


class ProgramCache:
    """The programs of this process, and those that are kept.

    Args:
        kept: the folder of programs for this machine and these versions.

    Raises:
        OSError: if one of the folders can't be used.
    """

    def __init__(self, kept: Path):
        self._kept = kept
        self._seen: set[str] = set()
        kept.mkdir(exist_ok=True)
        _remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        _lock(self.folder)
        atexit.register(self._close, os.getpid())
        free = shutil.disk_usage(self.folder).free
        largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if free < _FREE_BYTES or largest != resource.RLIM_INFINITY:
            raise OSError(f"{self.folder} may be too small.")
        for path in kept.glob("[!.]*"):  # Others are being written.
            name, _, digest = path.name.rpartition(".")
            content = path.read_bytes()
            if _digest(content) == digest:
                (self.folder / name).write_bytes(content)
                self._seen.add(name)
            else:
                path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Keep what has been compiled, and delete what was written first if it is much."""
        for path in self.folder.iterdir():
            if path.suffix != ".tmp" and path.name not in self._seen:
                content = path.read_bytes()
                name = f"{path.name}.{_digest(content)}"
                with replacing(self._kept / name) as partial:
                    partial.write_bytes(content)
                self._seen.add(path.name)
        files = [path for path in self._kept.parent.glob("*/*") if path.is_file()]
        total = 0
        for path in sorted(files, key=lambda x: x.stat().st_mtime, reverse=True):
            total += path.stat().st_size
            if total > _MAX_BYTES:
                path.unlink(missing_ok=True)

    def _close(self, process: int) -> None:
        if os.getpid() == process:  # And not a fork.
            with contextlib.suppress(OSError):
                self.keep()
            shutil.rmtree(self.folder, ignore_errors=True)


def use() -> None:
    """Let TensorFlow and JAX use the cache; call it before they are imported.

    Does nothing if the environment variable GENIE_TF_CACHE is "off", if there is another
    cache already, or if there is no folder where only this user can write.
    """
    global _cache
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if os.environ.get(_VARIABLE) == "off" or "tf_xla_persistent_cache" in flags:
        return
    try:
        cache = ProgramCache(_own_folder() / _machine())
    except (OSError, ValueError):
        return
    _cache = cache
    os.environ["TF_XLA_FLAGS"] = (
        f"{flags} --tf_xla_persistent_cache_directory={cache.folder}"
        " --tf_xla_persistent_cache_device_types=CPU"
    )
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    # These would be in this folder too, and its name among what programs are found by.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")


def keep() -> None:
    """Keep what has been compiled until now, which is else done when the process ends.

    For servers, which are often killed.
    """
    if _cache:
        with contextlib.suppress(OSError):
            _cache.keep()


def _own_folder() -> Path:
    """The folder of all programs, where no other user can write.

    Raises:
        OSError: if there is no such folder.
        ValueError: if the home folder is unknown.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(root) if os.path.isabs(root) else local_path("~/.cache")
    folder = root / "genie_tf" / "programs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.getuid()
        or stat.S_IMODE(found.st_mode) != 0o700
    ):
        raise OSError(f"{folder} is open to others.")
    return folder


def _machine() -> str:
    """A name for all that compiled programs depend on, themselves apart."""
    facts = [platform.machine(), str(len(os.sched_getaffinity(0)))]
    facts += [os.environ.get(name, "") for name in ("XLA_FLAGS", "TF_XLA_FLAGS")]
    with contextlib.suppress(OSError):
        processor = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        named = "model name", "flags", "Features"
        facts += [x for x in processor.splitlines() if x.startswith(named)]
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts.append(f"{name} {importlib.metadata.version(name)}")
    return _digest("\n".join(facts).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _lock(folder: Path) -> int:
    """Mark a folder as used, as long as this process lives and the result is open.

    Raises:
        OSError: if it is another's, or used.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{folder} is another user's.")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_leftovers() -> None:
    """Delete the folders of processes that have been killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = _lock(folder)
            shutil.rmtree(folder)
            os.close(descriptor)
