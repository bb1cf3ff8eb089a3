"""Trains one stage of Genie: tokenizer, latent action model, or Genie whole.

genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok
genie-train --config=coinrun_genie:tiny --workdir=runs/genie \
    --config.tokenizer=runs/tok/model

Any setting of the config can be changed: --config.steps=500 --config.batch_size=8.
Writes checkpoints, metrics.jsonl, TensorBoard event files and, at the end, the trained
model as the folder WORKDIR/model. The same command goes on where a killed one stopped.
With KERAS_BACKEND=jax it trains on JAX, where --mesh can divide weights among devices.
With --plan it only prints what the training will need.
"""

import itertools
import json
import random
import shlex
import sys

from absl import flags
from genie_tf.experiments import cli
from ml_collections import ConfigDict

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_config(
        "config",
        "NAME:SIZE of one that ships with genie_tf, or FILE.py:SIZE of your own.",
    )
    cli.define_path("workdir", None, "Folder for all that is written.")
    cli.define_path("data_dir", None, "Where TFDS keeps its datasets.")
    cli.define_device_flags()
    flags.DEFINE_string(
        "mesh",
        "",
        "Devices of JAX along each axis, such as data:4,model:2. The batch is divided "
        "along data and fsdp, weights along fsdp (ZeRO-3) and model (tensor parallel). "
        "By default all devices are along data.",
    )
    flags.DEFINE_bool(
        "plan",
        False,
        "Train nothing; print parameters, FLOPs, memory and days on --devices. As "
        "--config.tokenizer, NAME:SIZE of its config will do.",
    )
    flags.DEFINE_integer("devices", 1, "Of a plan: how many devices.")
    flags.DEFINE_float("device_memory_gb", 32, "Of a plan: 10^9 bytes of each.")
    flags.DEFINE_float("device_tflops", 275, "Of a plan: 10^12 FLOPs a second of each.")
    flags.DEFINE_float("utilisation", 0.4, "Of a plan: share of these FLOPs reached.")
    flags.DEFINE_integer(
        "model_parallel",
        None,
        "Of a plan: devices among which tensor parallelism divides a layer; by default "
        "as many as can be, up to 8.",
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
) -> None:
    """Trains what a config says.

    Args:
        config: as in `experiments/configs`.
        workdir: folder for all that is written.
        data_dir: where TFDS keeps its datasets.
        strategy, tpu, virtual_devices, mesh: as of `make_engine`.
        command: what was typed, to be kept with the trained model.

    Raises:
        UserError: if config, data, checkpoint or workdir are not as needed.
    """
    # Imported here so that --help and wrong flags answer at once.
    import keras
    from genie_tf.datasets.clips import clip_batches

    from genie_tf.errors import DataError
    from genie_tf.preset_folder import read_config
    from genie_tf.presets import digest
    from genie_tf.training.checkpoints import Checkpoints
    from genie_tf.training.optimizers import averaged_weights
    from genie_tf.training.training_loop import sigterm_caught
    from genie_tf.training.training_loop import train as run_loop

    folder = cli.check_folder(workdir)
    with cli.user_errors():
        _check(config)
        if (folder / "model").exists():
            read_config(folder / "model")  # Only a preset is replaced at the end.
        keras.config.set_dtype_policy(config.precision)
        engine = make_engine(config, strategy, tpu, virtual_devices, mesh)
        engine.check_batch(config.batch_size // engine.num_workers)
        is_genie = config.stage == "genie"
        model = engine.model.tokenizer if is_genie else engine.model
        tokenizer = digest(model) if is_genie else None

        def batches_of(split: str, start: int = 0):
            return clip_batches(
                config.dataset,
                split,
                clip_length=config.clip_length,
                batch_size=config.batch_size,
                seed=config.seed,
                start_step=start,
                mask_patches=engine.model.dynamics.num_patches if is_genie else None,
                mask_rates=config.mask_rates if is_genie else (0.5, 1.0),
                shard=(engine.worker, engine.num_workers),
                camera=config.camera or None,
                stride=config.stride,
                frame_size=model.frame_shape[:2] if config.resize else None,
                tokenizer=tokenizer,
                num_actions=config.true_actions or None if is_genie else None,
                num_codes=model.num_codes if is_genie else None,
                data_dir=data_dir,
            )

        with_validation = batches_of(config.validation_split)
        validation = list(
            itertools.islice(
                with_validation, max(1, config.validation_clips // config.batch_size)
            )
        )
        with_validation.close()
        training = batches_of(config.train_split)
        first = next(training)
        training.close()
        for batch in (first, validation[0]):
            cli.check_frames(model.frame_shape, batch["video"], config.dataset)
            if is_genie:
                _check_actions(config, batch)
        checkpoints = Checkpoints(
            folder / "checkpoints",
            config.keep_last,
            config.keep_every,
            config.keep_best,
            config.best_is,
        )
        start, pending = checkpoints.restore(engine.model, engine.optimizer)
        if start > config.steps:
            raise ValueError(
                f"{folder} has been trained for {start} steps already, and config.steps "
                f"asks for {config.steps}."
            )
        cli.make_folder(workdir)
        if engine.worker == 0:
            (folder / "config.json").write_text(
                json.dumps(config.to_dict(), indent=1, default=list)
            )
    try:
        with sigterm_caught() as stop:
            step, records = run_loop(
                engine,
                lambda start: batches_of(config.train_split, start),
                checkpoints=checkpoints,
                start=start,
                pending=pending,
                steps=config.steps,
                workdir=folder,
                log_every=config.log_every,
                checkpoint_every=config.checkpoint_every,
                evaluate_every=config.evaluate_every,
                validation=validation,
                description=config.stage,
                steps_per_call=config.steps_per_call,
                stop=stop,
            )
        if engine.worker:
            return
        if step < config.steps:
            print(
                f"Stopped at step {step}, saved; the same command goes on from there."
            )
            return
        with averaged_weights(engine.model, engine.optimizer):
            engine.model.save_to_preset(
                folder / "model",
                f"{type(engine.model).__name__} trained on {config.dataset}, for "
                f"{config.steps:,} steps of {config.batch_size} clips of "
                f"{config.clip_length} frames.",
                dataset=config.dataset,
                command=command,
                scores={
                    name.removeprefix("validation/"): value
                    for name, value in records[-1].items()
                    if name.startswith("validation/")
                },
                settings=config.to_dict(),
            )
    except (OSError, DataError) as error:
        raise cli.UserError(
            f"stopped: {error}; the last checkpoint is of step "
            f"{checkpoints.latest_step()}, from which the same command goes on"
        ) from error


def _check_actions(config: ConfigDict, batch: dict) -> None:
    """Raises a ValueError if true actions are wanted and the dataset has none."""
    if config.true_actions and "action" not in batch:
        raise ValueError(
            f"config.true_actions={config.true_actions} needs a dataset with discrete "
            f"actions; {config.dataset} has none."
        )


def _check(config: ConfigDict) -> None:
    """Raises a ValueError for numbers that no training can have."""
    for name in (
        "steps",
        "log_every",
        "evaluate_every",
        "checkpoint_every",
        "steps_per_call",
        "accumulate",
    ):
        if config[name] < 1:
            raise ValueError(f"config.{name} must be 1 or more; is {config[name]}.")
    for name in ("log_every", "evaluate_every", "checkpoint_every"):
        if config[name] % config.steps_per_call:
            raise ValueError(
                f"config.{name} must be a multiple of config.steps_per_call="
                f"{config.steps_per_call}; is {config[name]}."
            )
    for name in ("model", "latent_action_model"):
        soft_updates = config.get(name, {}).get("quantizer", {}).get("soft_updates", 0)
        if soft_updates >= config.steps:
            raise ValueError(
                f"config.{name}.quantizer.soft_updates must be less than config.steps="
                f"{config.steps}, or codes never begin; is {soft_updates}."
            )
    if config.get("true_actions") and config.get("trained_actions"):
        raise ValueError(
            "config.true_actions and config.trained_actions were both given; a world is "
            "steered by one of the two."
        )
    if config.precision not in ("float32", "mixed_bfloat16"):
        raise ValueError(
            "config.precision must be float32 or mixed_bfloat16; is "
            f"{config.precision!r}."
        )


def make_engine(
    config: ConfigDict,
    strategy: str = "auto",
    tpu: str | None = None,
    virtual_devices: int = 1,
    mesh: str = "",
):
    """The `Engine` of a config, of the backend that Keras runs on.

    Args:
        config: as in `experiments/configs`.
        strategy, tpu: as of `make_strategy`, for TensorFlow.
        virtual_devices: split the CPU into so many devices.
        mesh: as of `parse_mesh`, for JAX.

    Raises:
        ValueError: if the devices or the config are not as needed.
    """
    import keras

    from genie_tf.training.optimizers import WarmupDecay, make_optimizer

    schedule = WarmupDecay(steps=config.steps, **config.schedule)

    def make(engine_class, devices):
        return engine_class(
            lambda: make_model(config),
            lambda model: make_optimizer(model, schedule, **config.optimizer),
            config.clip_norm,
            devices,
            config.accumulate,
        )

    if keras.config.backend() == "jax":
        if strategy != "auto" or tpu:
            raise ValueError(
                "--strategy and --tpu are for TensorFlow; with KERAS_BACKEND=jax all "
                "devices of this machine are used, as --mesh says."
            )
        from genie_tf.training.jax_engine import JaxEngine
        from genie_tf.training.sharding import make_sharding

        return make(JaxEngine, make_sharding(mesh, virtual_devices))
    if mesh:
        raise ValueError("--mesh needs JAX: set KERAS_BACKEND=jax.")
    from genie_tf.training.engine import TensorFlowEngine
    from genie_tf.training.strategies import make_strategy

    return make(TensorFlowEngine, make_strategy(strategy, tpu, virtual_devices))


def make_model(config: ConfigDict):
    """The untrained model of a config's stage.

    Raises:
        ValueError: if there is no such stage, or the tokenizer cannot be loaded.
    """
    from genie_tf.models import LatentActionModel, VideoTokenizer

    # Keras draws the seeds of its initializers from here. Its own set_random_seed would
    # load TensorFlow, whichever backend there is.
    random.seed(config.seed)
    if config.stage == "tokenizer":
        return VideoTokenizer(**_settings(config.model, config.remat))
    if config.stage == "latent_action_model":
        return LatentActionModel(**_settings(config.model, config.remat))
    if config.stage == "genie":
        if not config.tokenizer:
            raise ValueError(
                "Genie needs a trained tokenizer: give its folder as --config.tokenizer"
                "=WORKDIR/model."
            )
        genie = make_genie(config, VideoTokenizer.from_preset(config.tokenizer))
        genie.dynamics.start_from(genie.tokenizer.quantizer.codes())
        return genie
    raise ValueError(
        "config.stage must be tokenizer, latent_action_model or genie; received "
        f"{config.stage!r}."
    )


def make_genie(config: ConfigDict, tokenizer):
    """The untrained `Genie` or `GuidedGenie` of a config, around a `VideoTokenizer`."""
    from genie_tf.models import Dynamics, Genie, GuidedGenie, LatentActionModel

    if config.true_actions:
        latent_action_model = None
    elif config.trained_actions:
        latent_action_model = LatentActionModel.from_preset(config.trained_actions)
        latent_action_model.trainable = False
    else:
        latent_action_model = LatentActionModel(
            **_settings(config.latent_action_model, config.remat)
        )
    dynamics = Dynamics(
        num_codes=tokenizer.num_codes,
        num_patches=tokenizer.num_patches,
        action_dim=config.true_actions or latent_action_model.action_dim,
        transformer={**config.dynamics, "remat": config.remat},
        code_dim=tokenizer.code_dim,
        conditioning=config.conditioning,
    )
    if config.true_actions:
        return GuidedGenie(tokenizer, dynamics)
    return Genie(tokenizer, latent_action_model, dynamics)


def _settings(model: ConfigDict, remat: bool) -> dict:
    """Arguments of a model with encoder and decoder."""
    return {
        **model.to_dict(),
        "encoder": {**model.encoder, "remat": remat},
        "decoder": {**model.decoder, "remat": remat},
    }


def main() -> None:
    cli.check_backend()
    if FLAGS.plan:
        from genie_tf.experiments.plan import plan

        with cli.user_errors():
            text = plan(
                FLAGS.config,
                FLAGS.devices,
                FLAGS.device_memory_gb,
                FLAGS.device_tflops,
                FLAGS.utilisation,
                FLAGS.model_parallel,
            )
        print(text)
        return
    if FLAGS.workdir is None:
        raise cli.UserError("expected --workdir, which --help describes")
    train(
        FLAGS.config,
        FLAGS.workdir,
        FLAGS.data_dir,
        FLAGS.strategy,
        FLAGS.tpu,
        FLAGS.virtual_devices,
        FLAGS.mesh,
        shlex.join(["genie-train", *sys.argv[1:]]),
    )


def run() -> None:
    cli.run(main, define_flags, required=["config"])


if __name__ == "__main__":
    run()
