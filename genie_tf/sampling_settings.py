"""Settings of sampling a frame's tokens, each described once.

Programs, the page, environments and exported models read names, ranges and texts from here.
A dynamics model lists the settings that it has.
"""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence

ORDERS = ("confidence", "halton", "random")

_LIMIT = 1e6


@dataclasses.dataclass(frozen=True)
class Setting:
    """A number or a choice that decides how tokens are sampled.

    Attributes:
        name: how programs and messages call it.
        label: how the page calls it.
        default: value where nothing else is asked for; its type is the setting's.
        help: one line.
        least: smallest number.
        most: largest number that a page may ask for; None if a page can't change it.
        choices: words to choose from, of a setting that is no number.
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
        """Whether a page can change it."""
        return self.most is not None or bool(self.choices)

    def check(self, value) -> None:
        """Raise a ValueError unless tokens can be sampled with a value."""
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
        if not is_number or not self.least <= value < _LIMIT:  # NaN is refused too.
            raise ValueError(
                f"`{self.name}` must be {'a whole number, ' if whole else ''}{self.least} "
                f"or more, and less than a million; received {value!r:.100}."
            )


NUM_STEPS = Setting("num_steps", "steps", 4, "MaskGIT steps per frame.", 1, 25)
TEMPERATURE = Setting(
    "temperature", "temperature", 1.0, "Of the tokens; 0 takes the likeliest.", most=4
)
TOP_K = Setting(
    "top_k", "top k", 0, "Draw from this many of the likeliest tokens; 0: from all."
)
CHOICE_TEMPERATURE = Setting(
    "choice_temperature", "choice temperature", 4.5, "Of the noise on confidences."
)
ORDER = Setting(
    "order",
    "order",
    "confidence",
    "Which tokens of a frame are settled first: those the network is surest of; evenly "
    "over the frame, the same ones in each (halton); or other ones in each.",
    choices=ORDERS,
)

# Flags are defined from these.
ALL_SETTINGS = (NUM_STEPS, TEMPERATURE, TOP_K, CHOICE_TEMPERATURE, ORDER)


def complete_settings(
    settings: Sequence[Setting], given: Mapping | None, owner: str
) -> dict[str, int | float | str]:
    """Return the values of all settings: those given, and defaults for the others.

    Args:
        settings: what there is to set.
        given: values by name; None for no value.
        owner: whose settings these are, for the error.

    Raises:
        ValueError: if there is no such setting, or a value is out of range.
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


def settings_as_tensors(settings: Sequence[Setting], values: Mapping) -> dict:
    """Return values as scalar tensors, so that one program serves all of them.

    Args:
        settings: what there is to set.
        values: of all of them, see `complete_settings`.

    Returns:
        A dict of float32 or int32 scalars; a choice is its place in `choices`.
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
