"""A cache of compiled programs that persists between runs.

XLA takes longer to compile a frame than to compute a hundred. Compiled programs are kept in
`~/.cache/genie_tf` (or below XDG_CACHE_HOME), for each machine and set of versions.

Programs are code, so the cache must be writable for this user only, and entries are checked
before use. TensorFlow ends a process that can't read or write an entry of its cache, so each
process works in its own folder, with copies of the undamaged entries. New entries are kept
afterward.
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
import tempfile
from pathlib import Path

from genie_tf.files import private_folder, replacing

_VARIABLE = "GENIE_TF_CACHE"
_MAX_BYTES = 128 * 2**20
_FREE_BYTES = 512 * 2**20  # Enough for any entry.
_PREFIX = "genie_tf_programs_"
_DISTRIBUTIONS = ("genie_tf", "keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib")

_cache: "ProgramCache | None" = None  # The cache of this process.


class ProgramCache:
    """Folder of compiled programs of this process, filled from the kept ones.

    Args:
        kept: folder of kept programs for this machine and these versions.

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
        for path in kept.glob("[!.]*"):  # Hidden files are being written.
            name, _, digest = path.name.rpartition(".")
            content = path.read_bytes()
            if _digest(content) == digest:
                (self.folder / name).write_bytes(content)
                self._seen.add(name)
            else:
                path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Keep new programs, and delete the oldest ones above the size limit."""
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
        if os.getpid() == process:  # Not in a fork.
            with contextlib.suppress(OSError):
                self.keep()
            shutil.rmtree(self.folder, ignore_errors=True)


def use() -> None:
    """Make TensorFlow and JAX use the cache; call this before they are imported.

    Do nothing if the environment variable GENIE_TF_CACHE is "off", another cache is
    configured, or no folder is writable for this user only.
    """
    global _cache
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if os.environ.get(_VARIABLE) == "off" or "tf_xla_persistent_cache" in flags:
        return
    try:
        cache = ProgramCache(private_folder("programs") / _machine())
    except (OSError, ValueError):
        return
    _cache = cache
    os.environ["TF_XLA_FLAGS"] = (
        f"{flags} --tf_xla_persistent_cache_directory={cache.folder}"
        " --tf_xla_persistent_cache_device_types=CPU"
    )
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    # XLA's own caches would make the name of this folder part of each program's key.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")


def keep() -> None:
    """Keep new programs now instead of at the end of the process.

    Servers call this, since they are often killed.
    """
    if _cache:
        with contextlib.suppress(OSError):
            _cache.keep()


def _machine() -> str:
    """Return a name for the machine, settings and versions that programs depend on."""
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
    """Lock a folder while this process lives and the returned descriptor is open.

    Raises:
        OSError: if it belongs to another user, or is locked.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user.")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_leftovers() -> None:
    """Delete the folders of killed processes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = _lock(folder)
            shutil.rmtree(folder)
            os.close(descriptor)
