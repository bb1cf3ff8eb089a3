"""Trains one stage of Genie: tokenizer, latent action model, or Genie whole.

genie-train --config=experiments/configs/coinrun_tokenizer.py:tiny --workdir=runs/tok
genie-train --config=experiments/configs/coinrun_genie.py:tiny --workdir=runs/genie \
    --config.tokenizer=runs/tok/model

Any setting of the config can be changed: --config.steps=500 --config.batch_size=8.
Writes checkpoints, metrics.jsonl, TensorBoard event files and, at the end, the trained
model as the folder WORKDIR/model. The same command goes on where a killed one stopped.
"""

import itertools
import json
from pathlib import Path

from absl import flags
from genie_tf.experiments import cli
from ml_collections import ConfigDict, config_flags

FLAGS = flags.FLAGS


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config", None, "A file of experiments/configs, with its size: FILE.py:tiny."
    )
    flags.DEFINE_string("workdir", None, "Folder for all that is written.")
    flags.DEFINE_string("data_dir", None, "Where TFDS keeps its datasets.")


def train(config: ConfigDict, workdir: str, data_dir: str | None = None) -> Path:
    """Trains what a config says.

    Args:
        config: as in `experiments/configs`.
        workdir: folder for all that is written.
        data_dir: where TFDS keeps its datasets.

    Returns:
        The folder of the trained model.

    Raises:
        UserError: if config, data, checkpoint or workdir are not as needed.
    """
    # Imported here so that --help and wrong flags answer at once.
    from genie_tf.datasets.clips import clip_batches

    from genie_tf.presets import save_preset
    from genie_tf.training.engine import TensorFlowEngine
    from genie_tf.training.optimizers import WarmupDecay, make_optimizer
    from genie_tf.training.training_loop import resume
    from genie_tf.training.training_loop import train as run_loop

    folder = cli.check_folder(workdir)
    with cli.user_errors():
        for name in ("steps", "log_every", "evaluate_every", "checkpoint_every"):
            if config[name] < 1:
                raise ValueError(f"config.{name} must be 1 or more; is {config[name]}.")
        schedule = WarmupDecay(steps=config.steps, **config.schedule)
        engine = TensorFlowEngine(
            lambda: make_model(config),
            lambda model: make_optimizer(model, schedule, **config.optimizer),
            config.clip_norm,
        )
        is_genie = config.stage == "genie"

        def batches_of(split: str, start: int = 0):
            return clip_batches(
                config.dataset,
                split,
                clip_length=config.clip_length,
                batch_size=config.batch_size,
                seed=config.seed,
                start_step=start,
                mask_patches=engine.model.dynamics.num_patches if is_genie else None,
                data_dir=data_dir,
            )

        with_validation = batches_of("validation")
        validation = list(
            itertools.islice(
                with_validation, max(1, config.validation_clips // config.batch_size)
            )
        )
        with_validation.close()
        model = engine.model.tokenizer if is_genie else engine.model
        cli.check_frames(model.frame_shape, validation[0]["video"], config.dataset)
        start = resume(engine, folder)
        if start > config.steps:
            raise ValueError(
                f"{folder} has been trained for {start} steps already, and config.steps "
                f"asks for {config.steps}."
            )
        cli.make_folder(workdir)
        (folder / "config.json").write_text(
            json.dumps(config.to_dict(), indent=1, default=list)
        )
    records = run_loop(
        engine,
        lambda start: batches_of("train", start),
        start=start,
        steps=config.steps,
        workdir=folder,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        evaluate_every=config.evaluate_every,
        validation=validation,
        description=config.stage,
    )
    save_preset(engine.model, folder / "model", _card(config, records[-1]))
    return folder / "model"


def make_model(config: ConfigDict):
    """The untrained model of a config's stage.

    Raises:
        ValueError: if there is no such stage, or the tokenizer cannot be loaded.
    """
    import keras

    from genie_tf.models import Dynamics, Genie, LatentActionModel, VideoTokenizer
    from genie_tf.presets import load_part

    keras.utils.set_random_seed(config.seed)
    if config.stage == "tokenizer":
        return VideoTokenizer(**config.model.to_dict())
    if config.stage == "latent_action_model":
        return LatentActionModel(**config.model.to_dict())
    if config.stage == "genie":
        if not config.tokenizer:
            raise ValueError(
                "Genie needs a trained tokenizer: give its folder as --config.tokenizer"
                "=WORKDIR/model."
            )
        tokenizer = load_part(config.tokenizer, "tokenizer")
        latent_action_model = LatentActionModel(**config.latent_action_model.to_dict())
        dynamics = Dynamics(
            num_codes=tokenizer.num_codes,
            num_patches=tokenizer.num_patches,
            action_dim=latent_action_model.action_dim,
            transformer=config.dynamics.to_dict(),
            code_dim=tokenizer.code_dim,
        )
        dynamics.start_from(tokenizer.quantizer.codes())
        return Genie(tokenizer, latent_action_model, dynamics)
    raise ValueError(
        "config.stage must be tokenizer, latent_action_model or genie; received "
        f"{config.stage!r}."
    )


def _card(config: ConfigDict, record: dict) -> str:
    scores = "\n".join(
        f"| {name.removeprefix('validation/')} | {value:.4g} |"
        for name, value in record.items()
        if name.startswith("validation/")
    )
    return f"""# {config.stage}

Trained by genie_tf for {config.steps:,} steps of {config.batch_size} clips of
{config.clip_length} frames of {config.dataset}, with these settings:

```json
{json.dumps(config.to_dict(), indent=1, default=list)}
```

On {config.validation_clips} validation clips:

| metric | value |
|---|---|
{scores}
"""


def main() -> None:
    train(FLAGS.config, FLAGS.workdir, FLAGS.data_dir)


def run() -> None:
    cli.run(main, define_flags, required=["config", "workdir"])


if __name__ == "__main__":
    run()
