"""Model classes by name, for presets and configs."""

import inspect
import reprlib
from collections.abc import Mapping

_CLASSES: dict[str, type] = {}


def register(cls: type) -> None:
    """Register a class by its name, replacing an earlier class of that name."""
    _CLASSES[cls.__name__] = cls


def model_class(name: str, base: type = object) -> type:
    """Return the model class of a name.

    Args:
        name: name of the class.
        base: required base class.

    Raises:
        ValueError: if there is no such class, or it is not derived from `base`.
    """
    try:
        cls = _CLASSES[name]
    except (KeyError, TypeError):
        raise ValueError(
            f"There is no model {reprlib.repr(name)}; genie_tf has "
            f"{', '.join(sorted(_CLASSES))}."
        ) from None
    if not issubclass(cls, base):
        raise ValueError(f"Expected a {describe(base)}; received {cls.__name__}.")
    return cls


def describe(kind: type) -> str:
    """Return the names of the classes of a kind, such as "Genie or GuidedGenie".

    Classes derived from one of these are left out.
    """
    classes = [x for x in _CLASSES.values() if issubclass(x, kind)]
    first = [x for x in classes if not any(y in x.__mro__[1:] for y in classes)]
    return " or ".join(sorted(x.__name__ for x in first)) or kind.__name__


def make_model(settings: Mapping, base: type):
    """Build a model from its class name and arguments.

    Args:
        settings: `class_name`, and the arguments of that class.
        base: required base class.

    Raises:
        ValueError: if there is no such class, or it has no such arguments.
    """
    arguments = dict(settings)
    cls = model_class(arguments.pop("class_name", None), base)
    check_arguments(cls, arguments)
    return cls(**arguments)


def check_arguments(cls: type, arguments) -> None:
    """Raise a ValueError unless a class names these arguments, except `class_name`."""
    if not isinstance(arguments, dict):
        raise ValueError(
            f"The arguments of {cls.__name__} must have names; received "
            f"{reprlib.repr(arguments)}."
        )
    parameters = inspect.signature(cls).parameters.values()
    named = {x.name for x in parameters if x.kind != x.VAR_KEYWORD}
    unknown = arguments.keys() - named - {"class_name"}
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no arguments {', '.join(sorted(map(reprlib.repr, unknown)))}."
        )
