"""Train one stage of Genie: tokenizer, latent action model, or the complete Genie.

genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok
genie-train --config=coinrun_genie:tiny --workdir=runs/genie \
    --config.tokenizer=runs/tok/model

Every setting of the config has a flag: --config.steps=500 --config.batch_size=8. The
dataset can be a mixture: --config.dataset=NAME:WEIGHT,NAME:WEIGHT. To fine-tune a
preset, pass --config.start_from=PRESET and, to freeze parts or layers of the model,
their names in --config.frozen=NAME,NAME. Writes checkpoints, metrics.jsonl, TensorBoard
event files and, at the end, the trained model to the folder WORKDIR/model. If a run is
killed, rerun the same command: it resumes from the last checkpoint. With
KERAS_BACKEND=jax it trains on JAX, where --mesh can shard weights across devices.
genie-plan estimates what a run will need; --compile_for=v5e:4x8 compiles its step for
TPUs, without having any.
"""

import contextlib
import functools
import itertools
import os
import shlex
import sys

from absl import flags
from ml_collections import ConfigDict

from genie_tf.experiments import cli
from genie_tf.experiments.cli.settings import check_settings
from genie_tf.experiments.cli.training_run import (
    TrainingData,
    check_workdir,
    open_checkpoints,
    run_training,
)

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_config(
        "config",
        "Training config: NAME:SIZE of a shipped one, or FILE.py:SIZE.",
    )
    cli.define_path("workdir", None, "Folder for checkpoints, metrics and the model.")
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")
    flags.DEFINE_bool(
        "allow_change",
        False,
        "Resume even if settings or data have changed, and record the change.",
    )
    cli.define_device_flags()
    flags.DEFINE_string(
        "mesh",
        "",
        "JAX devices along each axis, such as data:4,model:2. The batch is sharded "
        "along data and fsdp, weights along fsdp (ZeRO-3) and model (tensor parallel). "
        "By default all devices are along data.",
    )
    flags.DEFINE_string(
        "compile_for",
        None,
        "Do not train: compile the step on JAX for a slice of TPUs, such as v5e:4x8, and "
        "print what it needs there. Needs libtpu, but no TPU.",
    )


def train(
    config: ConfigDict,
    workdir: str,
    data_dir: str | None = None,
    strategy: str = "auto",
    tpu: str | None = None,
    virtual_devices: int = 1,
    mesh: str = "",
    command: str = "",
    allow_change: bool = False,
) -> None:
    """Train the model of a config.

    Args:
        config: settings, as in `experiments/configs`.
        workdir: folder for checkpoints, metrics and the model.
        data_dir: folder of TFDS datasets.
        strategy, tpu, virtual_devices, mesh: see `training.build.make_engine`.
        command: command line, stored with the trained model.
        allow_change: whether to resume even if settings or data have changed.

    Raises:
        UserError: if config, data, checkpoint or workdir are unsuitable, or another
            program trains in the workdir.
    """
    # Imported here so that --help and invalid flags are fast.
    import keras

    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.models import WorldModel
    from genie_tf.presets.saving import digest
    from genie_tf.training import history
    from genie_tf.training.build import make_engine
    from genie_tf.training.training_loop import ClipValidation

    with cli.user_errors():
        check_settings(config)
        if config.stage == "agent":
            raise ValueError("config.stage is agent: train it with genie-train-agent.")
        folder = check_workdir(workdir)
        keras.config.set_dtype_policy(config.precision)
        checkpoints = open_checkpoints(config, folder)
        resumes = checkpoints.latest_step() > 0
        engine = make_engine(config, strategy, tpu, virtual_devices, mesh, resumes)
        engine.check_batch(config.batch_size // engine.num_workers)
        is_genie = isinstance(engine.model, WorldModel)
        model = engine.model.tokenizer if is_genie else engine.model
        tokenizer = digest(model) if is_genie else None

        @functools.cache
        def open_clips(split: str) -> ClipDataset:
            episodes = open_episodes(
                config.dataset,
                split,
                data_dir,
                config.camera or None,
                frame_size=model.frame_shape[:2] if config.resize else None,
                num_actions=config.num_true_actions or None if is_genie else None,
                tokenizer=tokenizer,
                num_codes=model.num_codes if is_genie else None,
                num_patches=model.num_tokens if is_genie else None,
            )
            return ClipDataset(episodes, config.clip_length, config.stride)

        def open_batches(split: str, start: int = 0):
            transforms = [engine.model.training_inputs]
            if split == config.train_split:
                transforms.append(engine.model.dropout_inputs)
            return open_clips(split).batches(
                config.batch_size,
                config.seed,
                start,
                shard=(engine.worker, engine.num_workers),
                transforms=transforms,
            )

        def read_batches(split: str, number: int, start: int = 0):
            with contextlib.closing(open_batches(split, start)) as batches:
                return list(itertools.islice(batches, number))

        number = max(1, config.validation_clips // config.batch_size)
        validation = read_batches(config.validation_split, number)
        for batch in (validation[0], *read_batches(config.train_split, 1)):
            cli.check_frames(model.frame_shape, batch["video"], config.dataset)
            if is_genie:
                _check_actions(config, batch)
        inputs = history.describe_data(
            config.dataset,
            lambda name: open_episodes(
                name, config.train_split, data_dir, config.camera or None
            ),
        )
        if is_genie:
            inputs["checksum of the tokenizer"] = tokenizer[:16]
            if config.action_model:
                actions = digest(engine.model.latent_action_model)
                inputs["checksum of the latent action model"] = actions[:16]
    data = TrainingData(
        inputs,
        lambda start: open_batches(config.train_split, start),
        lambda step: read_batches(config.train_split, 1, step)[0],
        ClipValidation(engine, validation),
    )

    def save_model(scores: dict, phases: list[dict], steps: int) -> None:
        engine.model.save_to_preset(
            folder / "model",
            scores=scores,
            action_names=_name_actions(
                engine.model, open_clips(config.train_split).actions
            ),
            **_describe(engine.model, phases, steps),
        )

    run_training(
        config, folder, engine, checkpoints, data, save_model, command, allow_change
    )


def compile_step(config: ConfigDict, slice_name: str, mesh: str = "") -> str:
    """Return a report of a config's training step, compiled for a slice of TPUs.

    Args:
        config: settings, as in `experiments/configs`. Its tokenizer can be a trained one,
            or NAME:SIZE of a config.
        slice_name, mesh: see `compile_for_tpu`.

    Raises:
        UserError: if config, slice or mesh are unsuitable, or libtpu is not installed.
    """
    import keras

    from genie_tf.experiments.plan import make_model
    from genie_tf.training.tpu_slice import TpuSlice

    with cli.user_errors():
        tpus = TpuSlice(slice_name)
        if keras.config.backend() != "jax":
            raise ValueError("--compile_for needs JAX: set KERAS_BACKEND=jax.")
        cli.check_installed(
            "libtpu", "--compile_for needs the compiler for TPUs", "[tpu]"
        )
        check_settings(config)
        keras.config.set_dtype_policy(config.precision)
        from genie_tf.training.compile_for_tpu import compile_for_tpu

        return compile_for_tpu(lambda: make_model(config), config, tpus, mesh)


def _describe(model, phases: list[dict], steps: int) -> dict:
    """Return the description of the training run that `save_preset` stores."""
    from genie_tf.training.history import describe_phases

    name, settings = type(model).__name__, phases[-1]["settings"]
    parts = describe_phases(phases, steps)
    start = settings.get("start_from")
    trained = f"{name} fine-tuned from {start}" if start else f"{name} trained"
    if len(parts) == 1 and settings:
        description = (
            f"{trained} on {settings['dataset']}, for {steps:,} steps of "
            f"{settings['batch_size']} clips of {settings['clip_length']} frames."
        )
    else:
        description = f"{trained} for {steps:,} steps."
        settings = {**settings, "phases": parts}
        for part in parts:
            named = [
                f"{k} {v}" for k, v in part.items() if k not in ("steps", "command")
            ]
            description += f" Steps {part['steps']}: {', '.join(named)}."
    datasets = [x["settings"]["dataset"] for x in phases if x["settings"]]
    commands = [x["command"] for x in phases if x["command"]]
    return {
        "description": description,
        "dataset": " and then ".join(dict.fromkeys(datasets)),
        "command": "\n".join(commands),
        "settings": settings,
    }


def _name_actions(model, actions) -> list[str] | None:
    """Return the names of a dataset's actions if the model is driven by them."""
    is_guided = not getattr(model, "infers_actions", True)
    if is_guided and actions and len(actions.names) == model.num_actions:
        return list(actions.names)


def _check_actions(config: ConfigDict, batch: dict) -> None:
    """Raise a ValueError if the config needs true actions and the dataset has none."""
    if config.num_true_actions and "action" not in batch:
        raise ValueError(
            f"config.num_true_actions={config.num_true_actions} needs a dataset with discrete "
            f"actions; {config.dataset} has none."
        )


def main() -> None:
    if FLAGS.compile_for is not None:
        # It needs none of the devices of this machine.
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ.setdefault("KERAS_BACKEND", "jax")
        cli.import_keras()
        print(compile_step(FLAGS.config, FLAGS.compile_for, FLAGS.mesh))
        return
    if FLAGS.workdir is None:
        raise cli.UserError("expected --workdir; see --help")
    cli.import_keras()
    train(
        FLAGS.config,
        FLAGS.workdir,
        FLAGS.data_dir,
        FLAGS.strategy,
        FLAGS.tpu,
        FLAGS.virtual_devices,
        FLAGS.mesh,
        shlex.join(["genie-train", *sys.argv[1:]]),
        FLAGS.allow_change,
    )


def run() -> None:
    cli.run(main, define_flags, required=["config"])


if __name__ == "__main__":
    run()
