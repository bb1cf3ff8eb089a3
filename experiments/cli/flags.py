"""Flags shared by several programs."""

import math

from absl import flags

from genie_tf.files import local_path
from genie_tf.sampling_settings import ALL_SETTINGS

# Make --help list the flags defined here among those of the program.
flags.disclaim_key_flags()


def define_path(name: str, default: str | None, description: str) -> None:
    """Define a flag for a local path, or the name of a preset or dataset.

    A leading `~` is expanded, because shells do not expand it after an equals sign.
    """
    flags.DEFINE(_PathParser(), name, default, description)


def define_config(name: str, description: str) -> None:
    """Define a flag for a config (see `load_config`), and one for each setting."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file(name, None, description)
    flags.FLAGS[name].parser = ConfigParser()


def define_device_flags() -> None:
    """Define the flags for the arguments of `make_strategy`."""
    flags.DEFINE_string(
        "strategy",
        "auto",
        "TensorFlow devices: one; mirrored, all of this machine; multi_worker, those "
        "of all workers in TF_CONFIG; tpu; or auto, those available.",
    )
    flags.DEFINE_string("tpu", None, "Name or address of the TPU.")
    flags.DEFINE_integer(
        "virtual_devices", 1, "Number of devices to split the CPU into, for trials."
    )


# Sampling settings whose flags have another name.
_SAMPLING_FLAGS = {"num_steps": "steps"}


def define_sampling_flags() -> None:
    """Define the flags that `sampling` reads."""
    for setting in ALL_SETTINGS:
        name = _SAMPLING_FLAGS.get(setting.name, setting.name)
        text = (
            f"{setting.help} By default as the model says, usually {setting.default}."
        )
        if setting.choices:
            flags.DEFINE_enum(name, None, list(setting.choices), text)
        elif isinstance(setting.default, int):
            flags.DEFINE_integer(name, None, text, lower_bound=setting.least)
        else:
            flags.DEFINE_float(name, None, text, lower_bound=setting.least)


def sampling(model) -> dict:
    """Return the sampling settings set by flags, and defaults for the others.

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


def check_numbers() -> None:
    """Raise a ValueError if a flag is a non-finite or huge number."""

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


class _PathParser(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        """Return the path unchanged, except for `~`: "./NAME" and NAME may differ."""
        if not argument:
            raise ValueError("expected a path; received nothing")
        path = local_path(argument)
        return str(path) if argument.startswith("~") else argument


class _OrNone:
    """Mix-in for parsers of numbers: "None" is None."""

    def parse(self, argument):
        return None if argument == "None" else super().parse(argument)


class _IntegerOrNone(_OrNone, flags.IntegerParser):
    pass


class _FloatOrNone(_OrNone, flags.FloatParser):
    pass


class ConfigParser(flags.ArgumentParser):
    _loaded = False

    def parse(self, argument: str):
        from ml_collections import config_flags

        from genie_tf.experiments.cli.config_files import load_config

        # `check_settings` and the models reject a None where there must be a number.
        for number, parser in ((int, _IntegerOrNone()), (float, _FloatOrNone())):
            config_flags.register_flag_parser_for_type(number, parser)
        if self._loaded:
            raise ValueError("expected one config; received two")
        self._loaded = True
        config = load_config(argument)
        config.lock()  # Flags cannot add settings.
        return config
