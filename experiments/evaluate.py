"""Measure how good a trained model is, on clips it was not trained on.

genie-evaluate --preset=runs/genie/model --dataset=coinrun/random_hard_small \
    --split=test --output=runs/evaluation

The preset is a tokenizer, a latent action model or a Genie. Writes report.json,
report.md and images. They show how well tokenizer and latent actions reconstruct and
use their codes; how well latent actions agree with true ones; and how well the dynamics
predicts ten frames after one with inferred actions, how much worse with other actions
(dPSNR), and how repeating the prompt compares; --prompt_frames and --predicted_frames
change the two numbers. With --horizon they also show what long play does to the world.
See docs/evaluation.md.
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
# More than report and images usually take.
_REPORT_BYTES = 16 * 2**20


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained model.")
    cli.define_path(
        "dataset",
        None,
        "TFDS name, folder of a dataset, or a mixture, such as a:2,b:1.",
    )
    flags.DEFINE_string("split", "test", "Split to evaluate on.")
    flags.DEFINE_string("camera", None, "Observation that holds the frames.")
    flags.DEFINE_integer(
        "stride", 1, "Steps from one frame of a clip to the next.", lower_bound=1
    )
    flags.DEFINE_bool("resize", False, "Scale and crop frames to the model's size.")
    flags.DEFINE_enum(
        "actions",
        "groups",
        ["groups", "as_is"],
        "True actions to compare with: groups, where actions that do the same (as the "
        "dataset says) count as one; or as_is.",
    )
    flags.DEFINE_integer("clips", 64, "Number of clips.", lower_bound=2)
    flags.DEFINE_integer("frames", 16, "Frames per clip.", lower_bound=5)
    flags.DEFINE_integer(
        "prompt_frames",
        1,
        "True frames, with the actions between them, that a world sees first.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "predicted_frames",
        10,
        "Frames that it then predicts, at most to the end of a clip.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "black_region",
        None,
        "Pixels that are black in all comparisons, as TOP,LEFT,HEIGHT,WIDTH.",
    )
    cli.define_sampling_flags()
    flags.DEFINE_integer(
        "seed", 0, "Seed of clips, masks, samples and actions.", lower_bound=0
    )
    flags.DEFINE_list(
        "fid_features", [], "Feature networks for Fréchet distances between frames."
    )
    flags.DEFINE_list(
        "fvd_features", [], "Feature networks for Fréchet distances between videos."
    )
    cli.define_path("action_probe", None, "Action probe written by genie-features.")
    flags.DEFINE_integer(
        "horizon", 0, "Frames of long play; 0 skips the horizon study.", lower_bound=0
    )
    flags.DEFINE_integer(
        "horizon_clips", 48, "Number of clips for long play.", lower_bound=3
    )
    cli.define_path("output", None, "Output folder for report and images.")
    flags.DEFINE_bool("overwrite", False, "Replace the report in the output folder.")
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")
    cli.define_device_flags()


def main() -> None:
    cli.check_preset(FLAGS.preset)
    cli.import_keras()
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.evaluation import (
        Protocol,
        check_batch,
        check_model,
        evaluate,
        hold_actions,
        pictures,
        report,
    )
    from genie_tf.evaluation.action_probe import load_action_probe
    from genie_tf.evaluation.horizon_study import study_horizon
    from genie_tf.models import ActionModel, WorldModel
    from genie_tf.presets.loading import load_preset

    start = time.perf_counter()
    folder = _check_output(FLAGS.output)
    with cli.user_errors():
        strategy = _make_strategy()
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = load_preset(FLAGS.preset)
        check_model(model)
        is_world = isinstance(model, WorldModel)
        sampling = cli.sampling(model) if is_world else None
        region = _parse_region(FLAGS.black_region)
        protocol = Protocol(FLAGS.prompt_frames, FLAGS.predicted_frames, region)
        if is_world:
            num_compared = protocol.count_predicted(FLAGS.frames)
        else:  # A first frame that is given does not count.
            given = isinstance(model, ActionModel) or model.needs_first_frame
            num_compared = FLAGS.frames - given
        networks = _load_feature_networks(num_compared)
        frame_shape = (model.tokenizer if is_world else model).frame_shape
        is_guided = is_world and not model.infers_actions
        episodes = open_episodes(
            FLAGS.dataset,
            FLAGS.split,
            FLAGS.data_dir,
            FLAGS.camera,
            frame_size=frame_shape[:2] if FLAGS.resize else None,
            num_actions=model.num_actions if is_guided else None,
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
        check_batch(model, first, protocol)
        probe = long_batches = None
        if FLAGS.action_probe:
            _check_world(is_world, "--action_probe")
            probe = load_action_probe(FLAGS.action_probe, actions, frame_shape)
        if FLAGS.horizon:
            _check_world(is_world, "--horizon")
            long_batches = _open_long_clips(episodes, networks)
    scores, videos = evaluate(
        model,
        itertools.chain([first], batches),
        FLAGS.clips,
        sampling=sampling,
        protocol=protocol,
        seed=FLAGS.seed,
        group_actions=group,
        strategy=strategy,
        feature_networks=networks,
        action_probe=probe,
    )
    batches.close()
    if is_world:
        prompts = videos["truth"][:_SHOWN_PROMPTS, 0]
        videos["action_grid"] = hold_actions(model, prompts, sampling)
    if long_batches:
        scores["long_play"], videos["long_play"] = study_horizon(
            model,
            long_batches,
            FLAGS.horizon_clips,
            sampling=sampling,
            seed=FLAGS.seed,
            feature_networks=[x for x in networks if x.kind == "fvd"],
        )
        long_batches.close()
    results = {
        "model": type(model).__name__,
        "preset": FLAGS.preset,
        "dataset": FLAGS.dataset,
        "split": FLAGS.split,
        "camera": FLAGS.camera,
        "stride": FLAGS.stride,
        "resize": FLAGS.resize,
        "actions": FLAGS.actions,
        "action_names": actions and actions.names,
        "black_region": region,
        **({"sampling": sampling} if is_world else {}),
        "seed": FLAGS.seed,
        **scores,
        **report.environment(),
        "seconds": {"evaluation": time.perf_counter() - start},
    }
    try:
        with replacing_files(folder) as partial:
            names = pictures.draw_pictures(partial, results, videos)
            report.write_report(partial, results)
    except OSError as error:
        raise cli.UserError(f"cannot write a report to {folder}: {error}") from error
    print(f"Wrote {', '.join(['report.md', *names])} in {folder}.")


def _check_output(path: str) -> Path:
    """Return the folder for the report.

    Raises:
        UserError: if it cannot be written to, or already holds a report.
    """
    with cli.user_errors():
        folder = cli.check_folder(local_path(path))
        check_space(folder, _REPORT_BYTES)
    if (folder / "report.json").exists() and not FLAGS.overwrite:
        raise cli.UserError(
            f"{path} already holds a report: choose another folder, or pass --overwrite"
        )
    return folder


def _make_strategy():
    """Return the strategy that the flags ask for; None with JAX.

    Raises:
        ValueError: if it is not available.
    """
    import keras

    if keras.config.backend() != "tensorflow":
        if FLAGS.strategy != "auto" or FLAGS.tpu or FLAGS.virtual_devices > 1:
            raise ValueError(
                "--strategy, --tpu and --virtual_devices need TensorFlow; other backends "
                "evaluate on one device."
            )
        return None
    workers = FLAGS.strategy == "auto" and "TF_CONFIG" in os.environ
    if FLAGS.strategy == "multi_worker" or workers:
        raise ValueError(
            "Evaluation runs on one machine: choose --strategy=one, mirrored or tpu."
        )
    from genie_tf.training.strategies import make_strategy

    return make_strategy(FLAGS.strategy, FLAGS.tpu, FLAGS.virtual_devices)


def _check_world(is_world: bool, flag: str) -> None:
    """Raise a ValueError unless the model is a world."""
    if not is_world:
        raise ValueError(f"{flag} needs a world; the preset is only a part of one.")


def _open_long_clips(episodes, networks: list):
    """Return batches of clips to compare long play with.

    Raises:
        ValueError: if the episodes are too short, or the clips too few.
    """
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.evaluation.horizon_study import WINDOW

    clips = ClipDataset(episodes, 1 + FLAGS.horizon, FLAGS.stride)
    if clips.num_clips < FLAGS.horizon_clips:
        raise ValueError(
            f"{FLAGS.dataset}, split {FLAGS.split}, has {clips.num_clips} clips of "
            f"{1 + FLAGS.horizon} frames (a prompt and --horizon); --horizon_clips asks "
            f"for {FLAGS.horizon_clips}."
        )
    for network in networks:
        if network.kind == "fvd" and FLAGS.horizon >= WINDOW:
            network.check_clips(FLAGS.horizon_clips, WINDOW)
    return clips.batches(min(_LONG_BATCH, FLAGS.horizon_clips), FLAGS.seed)


def _load_feature_networks(clip_length: int) -> list:
    """Load the feature networks named by flags.

    Args:
        clip_length: frames per clip that are compared.

    Raises:
        ValueError: if a network does not exist, or the clips are too few or too short.
    """
    if not FLAGS.fid_features and not FLAGS.fvd_features:
        return []
    from genie_tf.evaluation.feature_networks import load_feature_network

    networks = [
        load_feature_network(source, kind)
        for kind, sources in (("fid", FLAGS.fid_features), ("fvd", FLAGS.fvd_features))
        for source in sources
    ]
    for network in networks:
        network.check_clips(FLAGS.clips, clip_length)
    return networks


def _parse_region(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of --black_region.

    Raises:
        ValueError: if they are not four whole numbers.
    """
    if text is None:
        return None
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() for number in numbers):
        raise ValueError(
            "Expected --black_region=TOP,LEFT,HEIGHT,WIDTH, four whole numbers of pixels; "
            f"received {text!r}."
        )
    return tuple(map(int, numbers))


def run() -> None:
    cli.run(main, define_flags, required=["preset", "dataset", "output"])


if __name__ == "__main__":
    run()
