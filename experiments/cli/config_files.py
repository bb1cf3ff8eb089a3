"""Loading of configs, by name if they ship with genie_tf, or by file."""

import importlib.machinery
import importlib.util
import inspect
from pathlib import Path

from ml_collections import ConfigDict

from genie_tf.files import local_path

_SHIPPED = Path(__file__).parents[1] / "configs"


def list_configs() -> list[str]:
    """Return the names of the configs that ship with genie_tf."""
    return sorted({x.stem for x in _SHIPPED.glob("*.py")} - {"__init__", "common"})


def load_config(config: str) -> ConfigDict:
    """Load a config.

    Args:
        config: NAME:SIZE of a config that ships with genie_tf, or FILE.py:SIZE of your
            own. The part after the colon is passed to the file's `get_config`.

    Raises:
        ValueError: if there is no such config, or it cannot be loaded.
    """
    local_path(config)  # Reject gs:// before splitting at the colon.
    name, *size = config.split(":", 1)
    path = _find(name)
    try:
        loaded = _call_get_config(path, *size)
    except ValueError:  # Already a one-sentence error, such as that of `choose_size`.
        raise
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} fails: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, ConfigDict):
        raise ValueError(
            f"get_config of {name} must return an ml_collections.ConfigDict; returned "
            f"{type(loaded).__name__}"
        )
    return loaded


def _find(name: str) -> Path:
    path, stem = local_path(name), name.removesuffix(".py")
    if path.is_file():
        return path
    if stem in list_configs():
        return _SHIPPED / f"{stem}.py"
    raise ValueError(
        f"there is no config {name}: expected FILE.py:SIZE, or NAME:SIZE of one that "
        f"ships with genie_tf ({', '.join(list_configs())})"
    )


def _call_get_config(path: Path, *size: str):
    loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
    spec = importlib.util.spec_from_loader(path.stem, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ValueError(
            f"{path.name} must define a function get_config that returns a config"
        )
    try:
        inspect.signature(get_config).bind(*size)
    except TypeError:
        wanted = "takes no size" if size else "needs a size"
        raise ValueError(f"{path.name} {wanted} after a colon") from None
    return get_config(*size)
