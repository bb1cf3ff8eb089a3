"""Measures how good a trained model is, on clips it has not seen.

genie-evaluate --preset=runs/genie/model --dataset=coinrun/random_hard_small \
    --split=test --output=runs/evaluation

The preset may hold a tokenizer, a latent action model, or a Genie. Writes report.json,
report.md and pictures: how well tokenizer and latent actions reconstruct and use their
codes; how well latent actions agree with true ones; how well the dynamics predicts ten
frames after one, with the actions inferred from them, how much worse with random actions
(dPSNR), and how well repeating the prompt would do. --horizon plays on for longer, and
measures what becomes of the world. docs/evaluation.md describes it all.
"""

import contextlib
import itertools
import os
import time
from pathlib import Path

import numpy as np
from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_space, local_path, replacing_files

FLAGS = flags.FLAGS

_BATCH = 32
_LONG_BATCH = 8  # 30 MB for 300 frames of 64x64; five are read ahead.
_SHOWN_PROMPTS = 4
# More than report and pictures usually take.
_REPORT_BYTES = 16 * 2**20


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained model.")
    cli.define_path("dataset", None, "TFDS name, like coinrun/random_hard.")
    flags.DEFINE_string("split", "test", "Split of the dataset.")
    flags.DEFINE_string("camera", None, "Which of the observations are the frames.")
    flags.DEFINE_integer(
        "stride", 1, "Steps from one frame of a clip to the next.", lower_bound=1
    )
    flags.DEFINE_bool("resize", False, "Scale frames to the size the model is for.")
    flags.DEFINE_enum(
        "actions",
        "groups",
        ["groups", "as_is"],
        "Whether true actions that do the same, by what the dataset says, count as one.",
    )
    flags.DEFINE_integer("clips", 64, "Number of clips.", lower_bound=2)
    flags.DEFINE_integer("frames", 16, "Frames of a clip.", lower_bound=5)
    cli.define_sampling_flags()
    flags.DEFINE_integer(
        "seed", 0, "Of clips, masks, samples and random actions.", lower_bound=0
    )
    flags.DEFINE_list(
        "fid_features", [], "Networks of Fréchet distances between frames."
    )
    flags.DEFINE_list(
        "fvd_features", [], "Networks of Fréchet distances between videos."
    )
    cli.define_path("action_probe", None, "Probe of genie-features to name actions by.")
    flags.DEFINE_integer(
        "horizon", 0, "Frames of long play; 0 leaves it out.", lower_bound=0
    )
    flags.DEFINE_integer("horizon_clips", 32, "Clips of long play.", lower_bound=3)
    cli.define_path("output", None, "Folder for report and pictures.")
    flags.DEFINE_bool("overwrite", False, "Replace the report in that folder.")
    cli.define_path("data_dir", None, "Where TFDS keeps its datasets.")
    cli.define_device_flags()


def main() -> None:
    cli.check_preset(FLAGS.preset)
    cli.import_keras()
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.evaluation import (
        check_batch,
        check_model,
        evaluate,
        hold_actions,
        pictures,
        report,
    )
    from genie_tf.evaluation.action_probe import load_action_probe
    from genie_tf.evaluation.horizon_study import study_horizon
    from genie_tf.models import WorldModel
    from genie_tf.presets.loading import load_preset

    start = time.perf_counter()
    folder = _check_output(FLAGS.output)
    with cli.user_errors():
        strategy = _make_strategy()
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = load_preset(FLAGS.preset)
        check_model(model)
        plays = isinstance(model, WorldModel)
        sampling = cli.sampling(model) if plays else None
        networks = _load_feature_networks(plays)
        frame_shape = (model.tokenizer if plays else model).frame_shape
        guided = plays and not model.infers_actions
        episodes = open_episodes(
            FLAGS.dataset,
            FLAGS.split,
            FLAGS.data_dir,
            FLAGS.camera,
            frame_size=frame_shape[:2] if FLAGS.resize else None,
            num_actions=model.num_actions if guided else None,
        )
        clips = ClipDataset(episodes, FLAGS.frames, FLAGS.stride)
        batches = clips.batches(
            min(_BATCH, FLAGS.clips), FLAGS.seed, transforms=[model.training_inputs]
        )
        first = next(batches)
        if clips.num_clips < FLAGS.clips:
            raise ValueError(
                f"{FLAGS.dataset}, split {FLAGS.split}, has {clips.num_clips} clips of "
                f"{FLAGS.frames} frames; --clips asks for {FLAGS.clips}."
            )
        actions = episodes.actions
        group = actions.group if actions and FLAGS.actions == "groups" else np.asarray
        cli.check_frames(frame_shape, first["video"], FLAGS.dataset)
        check_batch(model, first)
        probe = None
        if FLAGS.action_probe:
            _check_plays(plays, "--action_probe")
            probe = load_action_probe(FLAGS.action_probe, actions, frame_shape)
        long_batches = None
        if FLAGS.horizon:
            _check_plays(plays, "--horizon")
            long_batches = _open_long_clips(episodes, networks)
    scores, shown = evaluate(
        model,
        itertools.chain([first], batches),
        FLAGS.clips,
        sampling=sampling,
        seed=FLAGS.seed,
        group_actions=group,
        strategy=strategy,
        feature_networks=networks,
        action_probe=probe,
    )
    batches.close()
    if plays:
        prompts = shown["truth"][:_SHOWN_PROMPTS, 0]
        shown["held"] = hold_actions(model, prompts, sampling)
    if long_batches:
        scores["long_play"], shown["long_play"] = study_horizon(
            model,
            long_batches,
            FLAGS.horizon_clips,
            sampling=sampling,
            seed=FLAGS.seed,
            feature_networks=[x for x in networks if x.kind == "fvd"],
        )
        long_batches.close()
    written = {
        "model": type(model).__name__,
        "preset": FLAGS.preset,
        "dataset": FLAGS.dataset,
        "split": FLAGS.split,
        "camera": FLAGS.camera,
        "stride": FLAGS.stride,
        "resize": FLAGS.resize,
        "actions": FLAGS.actions,
        "action_names": actions and actions.names,
        **({"sampling": sampling} if plays else {}),
        "seed": FLAGS.seed,
        **scores,
        **report.environment(),
        "seconds": {"evaluation": time.perf_counter() - start},
    }
    try:
        with replacing_files(folder) as partial:
            names = pictures.draw_pictures(partial, written, shown)
            report.write_report(partial, written)
    except OSError as error:
        raise cli.UserError(f"no report can be written in {folder}: {error}") from error
    print(f"Wrote {', '.join(['report.md', *names])} in {folder}.")


def _check_output(path: str) -> Path:
    """Return the folder for the report.

    Raises:
        UserError: if nothing can be written there, or a report is there.
    """
    with cli.user_errors():
        folder = cli.check_folder(local_path(path))
        check_space(folder, _REPORT_BYTES)
    if (folder / "report.json").exists() and not FLAGS.overwrite:
        raise cli.UserError(
            f"there is a report in {path}: choose another folder, or --overwrite"
        )
    return folder


def _make_strategy():
    """The strategy that the flags ask for; None with JAX.

    Raises:
        ValueError: if that is not possible here.
    """
    import keras

    if keras.config.backend() != "tensorflow":
        if FLAGS.strategy != "auto" or FLAGS.tpu or FLAGS.virtual_devices > 1:
            raise ValueError(
                "--strategy, --tpu and --virtual_devices are for TensorFlow; on other "
                "backends one device evaluates."
            )
        return None
    workers = FLAGS.strategy == "auto" and "TF_CONFIG" in os.environ
    if FLAGS.strategy == "multi_worker" or workers:
        raise ValueError(
            "An evaluation runs on one machine: choose --strategy=one, mirrored or tpu."
        )
    from genie_tf.training.strategies import make_strategy

    return make_strategy(FLAGS.strategy, FLAGS.tpu, FLAGS.virtual_devices)


def _check_plays(plays: bool, flag: str) -> None:
    """Raise a ValueError unless the model is a world."""
    if not plays:
        raise ValueError(f"{flag} measures a world; the preset is only a part of one.")


def _open_long_clips(episodes, networks: list):
    """Return batches of clips that long play is compared with.

    Raises:
        ValueError: if the episodes are too short, or the clips too few.
    """
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.evaluation.horizon_study import WINDOW

    clips = ClipDataset(episodes, 1 + FLAGS.horizon, FLAGS.stride)
    if clips.num_clips < FLAGS.horizon_clips:
        raise ValueError(
            f"{FLAGS.dataset}, split {FLAGS.split}, has {clips.num_clips} clips of "
            f"{1 + FLAGS.horizon} frames, the prompt and --horizon; --horizon_clips asks "
            f"for {FLAGS.horizon_clips}."
        )
    for network in networks:
        if network.kind == "fvd" and FLAGS.horizon >= WINDOW:
            network.check_clips(FLAGS.horizon_clips, WINDOW)
    return clips.batches(min(_LONG_BATCH, FLAGS.horizon_clips), FLAGS.seed)


def _load_feature_networks(plays: bool) -> list:
    """The networks of Fréchet distances that the flags name.

    Raises:
        ValueError: if there is no such network, or no prediction to measure, or if the
            predictions are too few or too short.
    """
    if not FLAGS.fid_features and not FLAGS.fvd_features:
        return []
    if not plays:
        raise ValueError(
            "--fid_features and --fvd_features compare predicted frames, which a Genie "
            "makes alone."
        )
    from genie_tf.evaluation import PREDICTED_FRAMES
    from genie_tf.evaluation.feature_networks import load_feature_network

    networks = [
        load_feature_network(source, kind)
        for kind, sources in (("fid", FLAGS.fid_features), ("fvd", FLAGS.fvd_features))
        for source in sources
    ]
    for network in networks:
        network.check_clips(FLAGS.clips, min(PREDICTED_FRAMES, FLAGS.frames - 1))
    return networks


def run() -> None:
    cli.run(main, define_flags, required=["preset", "dataset", "output"])


if __name__ == "__main__":
    run()
