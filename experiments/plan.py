"""Estimate what training will need on many devices, without any of them.

genie-plan --config=platformers_genie:10.1b \
    --config.tokenizer=platformers_tokenizer:paper \
    --devices=256 --device_memory_gb=32 --device_tflops=275

Prints parameters, FLOPs, days, and memory under three layouts; docs/scaling.md explains
the numbers. Allocates no weights. --config.tokenizer is a trained tokenizer or, as
above, the NAME:SIZE of a config.
"""

from absl import flags
from ml_collections import ConfigDict

from genie_tf.experiments import cli
from genie_tf.experiments.cli.config_files import load_config
from genie_tf.experiments.cli.settings import check_settings
from genie_tf.presets.folder import read_config

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_config(
        "config",
        "Training config: NAME:SIZE of a shipped one, or FILE.py:SIZE.",
    )
    flags.DEFINE_integer("devices", 1, "Number of devices.")
    flags.DEFINE_float("device_memory_gb", 32, "Memory per device, in 10^9 bytes.")
    flags.DEFINE_float(
        "device_tflops", 275, "Peak speed per device, in 10^12 FLOPs per second."
    )
    flags.DEFINE_float("utilization", 0.4, "Share of peak speed that training reaches.")
    flags.DEFINE_integer(
        "model_parallel",
        None,
        "Number of devices that share a layer in tensor parallelism; by default as "
        "many as possible, up to 8.",
    )


def plan(config: ConfigDict, *args, **kwargs) -> str:
    """Return a report of what training a config will need.

    Args:
        config: settings of the training run.
        *args, **kwargs: see `plan_report`.

    Raises:
        ValueError: if the config is invalid or does not fit the devices.
    """
    # Imported here so that --help and invalid flags are fast.
    from genie_tf.training.plan_report import plan_report

    return plan_report(lambda: make_model(config), config, *args, **kwargs)


def make_model(config: ConfigDict):
    """Return the untrained model of a config, for `without_weights`.

    Its tokenizer can be that of an untrained config, NAME:SIZE.

    Raises:
        ValueError: if the config is invalid, or there is no such tokenizer.
    """
    import keras

    from genie_tf.models import Tokenizer
    from genie_tf.presets import registry
    from genie_tf.training.build import build_model, build_world
    from genie_tf.training.fine_tuning import freeze_layers

    keras.config.set_dtype_policy(config.precision)
    if config.stage != "genie":
        return build_model(config)
    try:
        if ":" in config.tokenizer:
            tokenizer = build_model(load_config(config.tokenizer))
        else:
            parts = read_config(config.tokenizer)["parts"]
            tokenizer = registry.make_model(parts["tokenizer"], Tokenizer)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "--config.tokenizer must be the folder of a trained tokenizer, or "
            f"NAME:SIZE of a tokenizer config; is {config.tokenizer!r}."
        ) from error
    world = build_world(config, tokenizer)
    freeze_layers(world, config.frozen)
    return world


def main() -> None:
    cli.import_keras()
    with cli.user_errors():
        check_settings(FLAGS.config)
        if FLAGS.config.stage == "agent":
            raise ValueError(
                "genie-plan plans stages that learn from clips; config.stage is agent."
            )
        text = plan(
            FLAGS.config,
            FLAGS.devices,
            FLAGS.device_memory_gb,
            FLAGS.device_tflops,
            FLAGS.utilization,
            FLAGS.model_parallel,
        )
    print(text)


def run() -> None:
    cli.run(main, define_flags, required=["config"])


if __name__ == "__main__":
    run()
