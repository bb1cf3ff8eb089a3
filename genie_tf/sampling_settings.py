"""Settings for sampling the tokens of a frame, each described once.

Programs, page, environments and exported models read names, ranges and texts from here.
Each dynamics class lists its settings.
"""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence

ORDERS = ("confidence", "halton", "random")

_LIMIT = 1e6


@dataclasses.dataclass(frozen=True)
class Setting:
    """Number or choice that controls how tokens are sampled.

    Attributes:
        name: name in programs and messages.
        label: name on the page.
        default: default value, which also defines the type.
        help: one-line description.
        least: smallest number.
        most: largest number on the page; None if the page cannot change it.
        choices: possible values, for a setting that is not a number.
    """

    name: str
    label: str
    default: int | float | str
    help: str
    least: int = 0
    most: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def playable(self) -> bool:
        """Whether the page can change it."""
        return self.most is not None or bool(self.choices)

    def check(self, value) -> None:
        """Raise a ValueError unless a value is valid."""
        if self.choices:
            if value not in self.choices:
                raise ValueError(
                    f"`{self.name}` must be one of {', '.join(self.choices)}; received "
                    f"{value!r:.100}."
                )
            return
        whole = isinstance(self.default, int)
        kind = numbers.Integral if whole else numbers.Real
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not is_number or not self.least <= value < _LIMIT:  # Also rejects NaN.
            raise ValueError(
                f"`{self.name}` must be {'a whole number, ' if whole else ''}{self.least} "
                f"or more, and less than a million; received {value!r:.100}."
            )


NUM_STEPS = Setting("num_steps", "steps", 4, "MaskGIT steps per frame.", 1, 25)
TEMPERATURE = Setting(
    "temperature",
    "temperature",
    1.0,
    "Temperature of the tokens; 0 picks the likeliest.",
    most=4,
)
TOP_K = Setting(
    "top_k", "top k", 0, "Draw from this many of the likeliest tokens; 0: from all."
)
CHOICE_TEMPERATURE = Setting(
    "choice_temperature",
    "choice temperature",
    4.5,
    "Temperature of the noise on confidences.",
)
ORDER = Setting(
    "order",
    "order",
    "confidence",
    "Which tokens of a frame are decided first: the most confident ones; evenly spread "
    "ones, the same in each frame (halton); or random ones.",
    choices=ORDERS,
)

# Flags are defined from this list.
ALL_SETTINGS = (NUM_STEPS, TEMPERATURE, TOP_K, CHOICE_TEMPERATURE, ORDER)


def complete_settings(
    settings: Sequence[Setting], given: Mapping | None, owner: str
) -> dict[str, int | float | str]:
    """Return the values of all settings, with defaults for missing ones.

    Args:
        settings: available settings.
        given: values by name; None for all defaults.
        owner: name of the owner of the settings, for the error.

    Raises:
        ValueError: if a setting is unknown or a value is out of range.
    """
    given = {} if given is None else given
    names = [setting.name for setting in settings]
    if not isinstance(given, Mapping):
        raise ValueError(
            "`sampling` must be a dict of settings, such as "
            f'{{"temperature": 0.0}}; received {given!r:.200}.'
        )
    for name in given:
        if name not in names:
            raise ValueError(
                f"{owner} has no setting {name!r:.100}: it has "
                f"{', '.join(names) or 'none'}."
            )
    values = {setting.name: setting.default for setting in settings}
    values |= given
    for setting in settings:
        setting.check(values[setting.name])
    return values


def with_defaults(
    settings: Sequence[Setting], defaults: Mapping | None, owner: str
) -> tuple[Setting, ...]:
    """Return the same settings with other default values.

    Args:
        settings: available settings.
        defaults: default values by name; missing ones stay.
        owner: see `complete_settings`.

    Raises:
        ValueError: see `complete_settings`.
    """
    values = complete_settings(settings, defaults, owner)
    return tuple(
        # A default also defines the type.
        dataclasses.replace(x, default=type(x.default)(values[x.name]))
        for x in settings
    )


def settings_as_tensors(settings: Sequence[Setting], values: Mapping) -> dict:
    """Return values as scalar tensors, so that one program serves all values.

    Args:
        settings: available settings.
        values: values of all settings, see `complete_settings`.

    Returns:
        A dict of float32 or int32 scalars; a choice becomes its index in `choices`.
    """
    from keras import ops

    return {
        setting.name: ops.convert_to_tensor(
            setting.choices.index(values[setting.name])
            if setting.choices
            else values[setting.name],
            "float32" if isinstance(setting.default, float) else "int32",
        )
        for setting in settings
    }
