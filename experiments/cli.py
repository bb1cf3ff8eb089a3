"""What the programs share: how they start, and how they say that input is wrong."""

import contextlib
import gc
import importlib.util
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import app, flags, logging

from genie_tf import program_cache
from genie_tf.errors import DataError
from genie_tf.experiments.interrupts import run_interruptible
from genie_tf.files import local_path
from genie_tf.presets.folder import read_config
from genie_tf.sampling_settings import ALL_SETTINGS

# The flags that are defined here are listed by --help among those of the program.
flags.disclaim_key_flags()

# What TensorFlow says whatever TF_CPP_MIN_LOG_LEVEL is: of a GPU that is not there; and
# that a compiled program it is about to load from `program_cache` is not text.
_NOISE = (
    r"before absl::InitializeLog|cudart_stub\.cc|cuda_platform\.cc"
    r"|Error parsing text-format tensorflow\.XlaSerializedCacheEntry"
)
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")

# What the programs can do with the settings of Keras.
_KERAS_SETTINGS = {
    "backend": ("tensorflow", "jax"),
    "floatx": ("float32",),
    "image_data_format": ("channels_last",),
}


class UserError(Exception):
    """Wrong input, described in one sentence: what was expected and what came."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns errors of what is done inside into a `UserError`.

    Put around reading what a user named: what the library raises there is already one
    clear sentence. Never around training or sampling, where an error is a bug.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def run(
    main: Callable[[], None],
    define_flags: Callable[[], None],
    required: Sequence[str] = (),
) -> None:
    """Parses flags and calls `main`; wrong input ends with a sentence and exit code 2.

    SIGINT ends the program with a line and exit code 130; a reader of its output that
    has gone, such as head, with exit code 141.

    Args:
        main: reads absl's flags.
        define_flags: defines them. Not done at import, because two programs may be
            imported that have a flag of the same name.
        required: names of flags that have to be given.
    """
    prepare()

    def parse(argv):
        try:
            define_flags()  # Reads --flagfile, if there is a config.
            _describe_to_absl(main)
            rest = flags.FLAGS(argv)
            _check_numbers()
        except (KeyError, AttributeError) as error:
            name = re.findall(r"[.\w]+", str(error))[-1]
            _fail(f"the config has no setting '{name}'")
        except (flags.Error, ValueError, TypeError) as error:
            _fail(str(error))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
        if missing:
            _fail(f"expected {' and '.join(missing)}, which --help describes")
        return rest

    def guarded(argv):
        if len(argv) > 1:
            _fail(f"expected only flags; received {' '.join(argv[1:])}")
        _hide_noise()
        try:
            main()
        except (UserError, DataError, FloatingPointError) as error:
            _fail(str(error))
        except Exception as error:
            if not _lacks_memory(error):
                raise
            _fail(f"there is not enough memory: {(str(error).splitlines() or [''])[0]}")

    def start():
        with _checked_output():
            app.run(guarded, flags_parser=parse)

    run_interruptible(start)


def define_path(name: str, default: str | None, description: str) -> None:
    """Defines a flag for a file or folder of this machine, or the name of one that ships.

    A leading `~` is expanded, which shells don't do behind an equals sign.
    """
    flags.DEFINE(_PathParser(), name, default, description)


def define_config(name: str, description: str) -> None:
    """Defines a flag for what `load_config` loads, and one for each of its settings."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file(name, None, description)
    flags.FLAGS[name].parser = _ConfigParser()


def prepare() -> None:
    """Settings of the process, to be made before Keras is imported."""
    program_cache.use()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # On a CPU, XLA frees the large buffers of each step. This allocator keeps them, where
    # the system would clear the same pages again for the next step. It stops at 64 GiB, if
    # not told that there is more.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(memory // 2**20))
    # Importing TensorFlow makes a million objects: looked through less often for garbage,
    # they take half a second less.
    gc.set_threshold(50_000)


def define_device_flags() -> None:
    """Defines the flags that `make_strategy` takes."""
    flags.DEFINE_string(
        "strategy",
        "auto",
        "Devices of TensorFlow: one; mirrored, all of this machine; multi_worker, those "
        "of all workers in TF_CONFIG; tpu; or auto, what there is.",
    )
    flags.DEFINE_string("tpu", None, "Name or address of the TPU.")
    flags.DEFINE_integer(
        "virtual_devices", 1, "Split the CPU into so many devices, to try several."
    )


# Settings whose flags have another name.
_SAMPLING_FLAGS = {"num_steps": "steps"}


def define_sampling_flags() -> None:
    """Define the flags that `sampling` reads."""
    for setting in ALL_SETTINGS:
        name = _SAMPLING_FLAGS.get(setting.name, setting.name)
        text = f"{setting.help} By default {setting.default}."
        if setting.choices:
            flags.DEFINE_enum(name, None, list(setting.choices), text)
        elif isinstance(setting.default, int):
            flags.DEFINE_integer(name, None, text, lower_bound=setting.least)
        else:
            flags.DEFINE_float(name, None, text, lower_bound=setting.least)


def sampling(model) -> dict:
    """Return the settings of sampling that the flags ask for, and defaults for others.

    Args:
        model: a `WorldModel`.

    Raises:
        ValueError: if the dynamics has no such setting.
    """
    given = {
        setting.name: flags.FLAGS[_SAMPLING_FLAGS.get(setting.name, setting.name)].value
        for setting in ALL_SETTINGS
    }
    given = {name: value for name, value in given.items() if value is not None}
    return model.dynamics.complete_sampling(given)


def check_installed(module: str, need: str, extra: str) -> None:
    """Looks for a module that not every installation has.

    Args:
        module: its name.
        need: what needs it, the beginning of the sentence.
        extra: of genie_tf, that installs it, in brackets; "" if its base does.

    Raises:
        UserError: if it is not installed.
    """
    if not importlib.util.find_spec(module):
        raise UserError(f"{need}: pip install genie_tf{extra}")


def _check_backend() -> None:
    """Checks the settings of Keras, before it is imported.

    Raises:
        UserError: if the environment or keras.json asks for something that the programs
            don't work with, such as a backend that is not installed.
    """
    home = os.path.expanduser("~")
    home = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    file = Path(os.environ.get("KERAS_HOME", home), "keras.json")
    settings = {}
    if file.exists():
        try:
            settings = dict(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{file} must hold the settings of Keras as JSON, or be deleted: {error}"
            ) from error
    where = dict.fromkeys(settings, str(file))
    if os.environ.get("KERAS_BACKEND"):
        settings["backend"] = os.environ["KERAS_BACKEND"]
        where["backend"] = "the environment variable KERAS_BACKEND"
    for name, choices in _KERAS_SETTINGS.items():
        if name in settings and settings[name] not in choices:
            raise UserError(
                f"the {name} of Keras must be {' or '.join(choices)}; {where[name]} says "
                f"{settings[name]!r}"
            )
    if not isinstance(settings.get("epsilon", 1e-7), float):
        raise UserError(f"the epsilon of Keras in {file} must be a number such as 1e-7")
    backend = settings.get("backend", "tensorflow")
    said = where.get("backend", "the default of Keras")
    extra = "[jax]" if backend == "jax" else ""
    check_installed(backend, f"{said} asks for {backend}, which is missing", extra)


def check_preset(preset: str | os.PathLike) -> None:
    """Checks that a preset exists, without importing Keras.

    Raises:
        UserError: if it does not.
    """
    with user_errors():
        read_config(preset)


def import_keras() -> None:
    """Imports Keras without libraries that it would import for parts not used here.

    They take a quarter of the time.

    Raises:
        UserError: if its settings are of no use, such as a backend that is not installed.
    """
    _check_backend()
    hidden = {"matplotlib", "sklearn"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def check_folder(path: str | os.PathLike) -> Path:
    """Checks a folder to write in later, which need not exist yet.

    Raises:
        UserError: if it cannot be created or written in.
    """
    with user_errors():
        folder = local_path(path)
        existing = next(x for x in (folder, *folder.absolute().parents) if x.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write in the folder {path}: choose another")
    return folder


def make_folder(path: str | os.PathLike) -> Path:
    """Creates a folder to write in, if need be.

    Raises:
        UserError: if it cannot be created or written in.
    """
    folder = check_folder(path)
    with user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_frames(expected: tuple[int, ...], video, dataset: str) -> None:
    """Compares the frames a model is for with those of a dataset.

    Raises:
        UserError: if they differ.
    """
    if tuple(video.shape[2:]) != tuple(expected):
        raise UserError(
            f"the model is for frames of {tuple(expected)}; {dataset} has frames of "
            f"{tuple(video.shape[2:])}"
        )


class _PathParser(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        """Returns the path as it was given, but for a `~`: "./NAME" is not NAME."""
        if not argument:
            raise ValueError("expected a path; received nothing")
        path = local_path(argument)
        return str(path) if argument.startswith("~") else argument


class _ConfigParser(flags.ArgumentParser):
    _loaded = False

    def parse(self, argument: str):
        from genie_tf.experiments.config_files import load_config

        if self._loaded:
            raise ValueError("expected one config; there is another before")
        self._loaded = True
        config = load_config(argument)
        config.lock()  # A setting that it lacks can't be added by a flag.
        return config


def _check_numbers() -> None:
    """Raises a ValueError for numbers with which no program can work."""

    def check(name, value):
        if hasattr(value, "items"):
            for key, item in value.items():
                check(f"{name}.{key}", item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(name, item)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} must be a finite number; received {value}")
        elif isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise ValueError(
                f"--{name} must be between -2^31 and 2^31; received {value}"
            )

    for name, value in flags.FLAGS.flag_values_dict().items():
        check(name, value)


class _Output(io.FileIO):
    """Standard output, whose errors are not taken for those of other files."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _OutputError from error


class _OutputError(Exception):
    pass


@contextlib.contextmanager
def _checked_output() -> Iterator[None]:
    """Ends the program in order if what it prints can't be written."""
    descriptor = sys.stdout.fileno()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",  # Names of files may be in any encoding.
        line_buffering=sys.stdout.isatty(),
    )
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except _OutputError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # Python tries once more.
        if isinstance(error.__cause__, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        _fail(f"cannot write to standard output: {error.__cause__}")


def _lacks_memory(error: Exception) -> bool:
    # TensorFlow's class, without importing it for that; and the text of XLA's errors.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    lacks = kinds & {"MemoryError", "ResourceExhaustedError"}
    return bool(lacks) or str(error).startswith("RESOURCE_EXHAUSTED")


def _hide_noise() -> None:
    """Lets a filter read what TensorFlow writes to stderr on a machine without a GPU.

    Python's own stderr stays what it is, such as a terminal.
    """
    if any(map(os.path.exists, _GPU_DEVICES)) or not shutil.which("grep"):
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    command = ["grep", "--line-buffered", "-Ev", _NOISE]
    grep = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr)
    with grep.stdin:
        os.dup2(grep.stdin.fileno(), 2)
    sys.stderr = os.fdopen(stderr, "w", buffering=1, errors="backslashreplace")


def _describe_to_absl(main: Callable) -> None:
    """Lets --help describe the app, also where a console script is the main module."""
    sys.modules["__main__"].__doc__ = main.__globals__["__doc__"]
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _fail(message: str) -> None:
    name = os.path.basename(sys.argv[0])
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
