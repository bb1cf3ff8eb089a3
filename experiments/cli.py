"""What the apps share: how they start, and how they say that input is wrong."""

import contextlib
import gc
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import app, flags, logging

from genie_tf import program_cache
from genie_tf.preset_folder import read_config


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

    Args:
        main: reads absl's flags.
        define_flags: defines them. Not done at import, for two apps may be imported
            that have a flag of the same name.
        required: names of flags that have to be given.
    """
    prepare()

    def parse(argv):
        define_flags()
        _describe_to_absl(main)
        try:
            rest = flags.FLAGS(argv)
            if "config" in flags.FLAGS and flags.FLAGS.config is not None:
                flags.FLAGS.config.lock()  # Raises if it could not be loaded.
        except (KeyError, AttributeError) as error:
            name = re.search("[a-zA-Z_]+", str(error))[0]
            _fail(f"the config has no setting '{name}'")
        except (OSError, SyntaxError) as error:
            _fail(f"--config must be a readable FILE.py:SIZE; {_last_line(error)}")
        except (flags.Error, ValueError) as error:
            _fail(_last_line(error))
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
        if missing:
            _fail(f"expected {' and '.join(missing)}, which --help describes")
        return rest

    def guarded(argv):
        if len(argv) > 1:
            _fail(f"expected flags alone; received {' '.join(argv[1:])}")
        try:
            main()
        except (UserError, FloatingPointError) as error:
            _fail(str(error))

    app.run(guarded, flags_parser=parse)


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


def define_sampling_flags() -> None:
    """Defines the flags that `sampling` reads."""
    flags.DEFINE_integer("steps", 4, "MaskGIT steps a frame.", lower_bound=1)
    flags.DEFINE_float(
        "temperature", 1.0, "Of the tokens; 0 takes the likeliest.", lower_bound=0
    )
    flags.DEFINE_integer(
        "top_k", 0, "Draw from so many of the likeliest tokens; 0: all.", lower_bound=0
    )
    flags.DEFINE_float(
        "choice_temperature", 4.5, "Of the noise on confidences.", lower_bound=0
    )
    flags.DEFINE_enum(
        "order",
        "confidence",
        ["confidence", "halton", "random"],
        "Which tokens of a frame are settled first.",
    )


def sampling():
    """The `Sampling` that the flags ask for."""
    from genie_tf.samplers import Sampling

    return Sampling(
        flags.FLAGS.steps,
        flags.FLAGS.temperature,
        flags.FLAGS.top_k,
        flags.FLAGS.choice_temperature,
        flags.FLAGS.order,
    )


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


def check_preset(preset: str | os.PathLike) -> None:
    """Looks for a preset, without importing Keras.

    Raises:
        UserError: if there is none.
    """
    with user_errors():
        read_config(preset)


def import_keras() -> None:
    """Imports Keras without libraries that it would import for parts not used here.

    They take a quarter of the time.
    """
    hidden = {"matplotlib", "sklearn"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def check_folder(path: str | os.PathLike) -> Path:
    """A folder to write in later, which need not exist yet.

    Raises:
        UserError: if it cannot be created or written in.
    """
    folder = Path(path)
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


def _describe_to_absl(main: Callable) -> None:
    """Lets --help describe the app, also where a console script is the main module."""
    sys.modules["__main__"].__doc__ = main.__globals__["__doc__"]
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _last_line(error: Exception) -> str:
    """What was wrong; before it, config_flags quotes the whole traceback."""
    return str(error).splitlines()[-1].strip().removeprefix("ValueError: ")


def _fail(message: str) -> None:
    name = os.path.basename(sys.argv[0])
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
