"""Classes of models by name, for presets and configs."""

import inspect
import reprlib
from collections.abc import Mapping

_CLASSES: dict[str, type] = {}


def register(made: type) -> None:
    """Make a class known by its name; a later one of that name replaces it."""
    _CLASSES[made.__name__] = made


def model_class(name: str, base: type = object) -> type:
    """Return the class of models that has a name.

    Args:
        name: of the class.
        base: what it has to be derived from.

    Raises:
        ValueError: if there is none.
    """
    try:
        found = _CLASSES[name]
    except (KeyError, TypeError):
        raise ValueError(
            f"There is no model {reprlib.repr(name)}; genie_tf has "
            f"{', '.join(sorted(_CLASSES))}."
        ) from None
    if not issubclass(found, base):
        raise ValueError(f"Expected a {describe(base)}; received {found.__name__}.")
    return found


def describe(kind: type) -> str:
    """Return the names of the classes that are of a kind, such as "Genie or GuidedGenie".

    Classes derived from one of these go without saying.
    """
    classes = [x for x in _CLASSES.values() if issubclass(x, kind)]
    first = [x for x in classes if not any(y in x.__mro__[1:] for y in classes)]
    return " or ".join(sorted(x.__name__ for x in first)) or kind.__name__


def make_model(settings: Mapping, base: type):
    """Make a model from its class name and arguments.

    Args:
        settings: `class_name`, and the arguments of that class.
        base: what the class has to be derived from.

    Raises:
        ValueError: if there is no such class, or it has no such arguments.
    """
    arguments = dict(settings)
    found = model_class(arguments.pop("class_name", None), base)
    check_arguments(found, arguments)
    return found(**arguments)


def check_arguments(made: type, arguments) -> None:
    """Raise a ValueError unless a class names these arguments, `class_name` apart."""
    if not isinstance(arguments, dict):
        raise ValueError(
            f"The arguments of {made.__name__} must have names; received "
            f"{reprlib.repr(arguments)}."
        )
    parameters = inspect.signature(made).parameters.values()
    named = {x.name for x in parameters if x.kind != x.VAR_KEYWORD}
    unknown = arguments.keys() - named - {"class_name"}
    if unknown:
        raise ValueError(
            f"{made.__name__} has no arguments {', '.join(sorted(map(reprlib.repr, unknown)))}."
        )
