"""Train a feature network for FVD and an action probe on CoinRun videos.

genie-features --dataset=coinrun/random_hard_small --output=runs/features

Writes CoinRun.keras, which maps video, float32 (batch, time, 64, 64, 3) in [-1, 1], to
features (batch, 32): a feature network for genie-evaluate that needs no download. It
learns three labels of clips of the train split: the theme of the level; the action of
each step, one of nine distinct ones; and, because random actions move little, the
direction held last, left or right, which the character faces. report.json has the
accuracy of each on the test split. action_probe.keras is the classifier of actions, for
genie-evaluate --action_probe.
"""

import collections
import itertools
import json
from collections.abc import Iterator, Mapping

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_FRAME_SHAPE = (64, 64, 3)
_CLIP_LENGTH = 16
_BATCH = 32
_WIDTH = 32
_MAX_TEST_CLIPS = 1024
_LEARNING_RATE = 1e-3


def define_flags() -> None:
    cli.define_path(
        "dataset", "coinrun/random_hard_small", "TFDS name of a CoinRun dataset."
    )
    cli.define_path("output", None, "Output folder for networks and report.json.")
    flags.DEFINE_integer("steps", 400, "Training steps of 32 clips.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of weights and clips.", lower_bound=0)
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")


def main() -> None:
    cli.import_keras()
    cli.check_folder(FLAGS.output)
    with cli.user_errors():
        clips = {split: _open_clips(split) for split in ("train", "test")}
        train, test = map(_labeled_clips, clips.values())
    # Imported here so that --help and invalid input are fast.
    import keras
    from tqdm import tqdm

    from genie_tf.datasets.procgen.environment import GAMES
    from genie_tf.evaluation import report
    from genie_tf.evaluation.action_probe import probe_name
    from genie_tf.files import replacing

    keras.utils.set_random_seed(FLAGS.seed)
    features, classifier = make_networks()
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, FLAGS.steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # With XLA, these convolutions take ten times as long on a CPU.
    classifier.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    with tqdm(itertools.islice(train, FLAGS.steps), "train", FLAGS.steps) as steps:
        for video, labels, weights in steps:
            losses = classifier.train_on_batch(video, labels, weights, return_dict=True)
            steps.set_postfix(loss=f"{losses['loss']:.3f}")
    test_steps = -(-min(clips["test"].num_clips, _MAX_TEST_CLIPS) // _BATCH)
    scores = _test(classifier, itertools.islice(test, test_steps))
    train.close()
    test.close()

    probe = keras.Model(
        classifier.input,
        classifier.output["action"],
        name=probe_name(GAMES["coinrun"].actions),
    )
    folder = cli.make_folder(FLAGS.output)
    settings = {
        "dataset": FLAGS.dataset,
        "steps": FLAGS.steps,
        "seed": FLAGS.seed,
        "batch_size": _BATCH,
        "clip_length": _CLIP_LENGTH,
    }
    text = json.dumps({**settings, "test": scores, **report.environment()}, indent=1)
    with cli.user_errors():
        with replacing(folder / "CoinRun.keras") as path:
            features.save(path)
        with replacing(folder / "action_probe.keras") as path:
            probe.save(path)
        with replacing(folder / "report.json") as path:
            path.write_text(text + "\n")
    for name, score in scores.items():
        print(
            f"{name}: {score['accuracy']:.1%} of {score['labels']:,} correct on "
            f"held-out levels; always the most frequent one: {score['majority']:.1%}."
        )
    print(f"Wrote CoinRun.keras, action_probe.keras and report.json in {folder}.")


def make_networks():
    """Build the feature network and the classifier that trains it.

    Returns:
        Two Keras models of video, float32 (batch, time, 64, 64, 3) in [-1, 1]. The
        first, "CoinRun", returns features (batch, 32). The second, with the same
        weights, returns logits: "action" (batch, time-1, 9), between frames t and t+1;
        "direction" (batch, time-1, 2), left or right, held last by then; and "theme"
        (batch, 6).
    """
    import keras
    from keras import layers

    from genie_tf.datasets.procgen.environment import GAMES, NUM_THEMES

    num_actions = len(set(GAMES["coinrun"].actions.groups))
    # Each frame but the first, with its change, which shows the action.
    video = keras.Input((None, *_FRAME_SHAPE))
    after = layers.Cropping3D(((1, 0), (0, 0), (0, 0)))(video)
    before = layers.Cropping3D(((0, 1), (0, 0), (0, 0)))(video)
    change = layers.Subtract()([after, before])
    x = layers.Concatenate()([after, change])
    # Keep time, because actions differ from step to step; and space, down to 8x8: a
    # mean would drown out the small character, which is at the same place in each
    # frame.
    for channels, kernel in ((16, (1, 5, 5)), (32, 3), (64, (1, 3, 3))):
        convolution = layers.Conv3D(
            channels, kernel, (1, 2, 2), padding="same", use_bias=False
        )
        # Training has too few steps for the usual momentum.
        x = layers.BatchNormalization(momentum=0.9)(convolution(x))
        x = layers.ReLU()(x)
    x = layers.Reshape((-1, x.shape[-3] * x.shape[-2] * x.shape[-1]))(x)
    x = layers.Dense(_WIDTH, name="features")(x)
    features = layers.GlobalAveragePooling1D()(x)
    logits = {
        "action": layers.Dense(num_actions, name="action")(x),
        "direction": layers.Dense(2, name="direction")(x),
        "theme": layers.Dense(NUM_THEMES, name="theme")(features),
    }
    return keras.Model(video, features, name="CoinRun"), keras.Model(video, logits)


def last_directions(groups: np.ndarray) -> np.ndarray:
    """Return the direction, left or right, that was held last at each step.

    Args:
        groups: groups of CoinRun's actions, (batch, steps).

    Returns:
        Directions, (batch, steps): 0, left; 1, right; -1 before either was held.
    """
    horizontal = groups // 3 - 1
    steps = np.arange(groups.shape[1])
    last = np.maximum.accumulate(np.where(horizontal != 0, steps, 0), axis=1)
    return np.array([0, -1, 1])[np.take_along_axis(horizontal, last, axis=1) + 1]


def _open_clips(split: str):
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.datasets.procgen.environment import ACTION_NAMES

    episodes = open_episodes(
        FLAGS.dataset,
        split,
        FLAGS.data_dir,
        metadata="theme",
        num_actions=len(ACTION_NAMES),
    )
    return ClipDataset(episodes, _CLIP_LENGTH)


def _labeled_clips(clips) -> Iterator[tuple[np.ndarray, dict, dict]]:
    """Return endless batches of a `ClipDataset`: videos, labels and their weights."""
    from genie_tf.datasets.procgen.environment import GAMES

    batches = clips.batches(_BATCH, FLAGS.seed)
    first = next(batches)
    cli.check_frames(_FRAME_SHAPE, first["video"], FLAGS.dataset)
    if "action" not in first:
        raise cli.UserError(f"{FLAGS.dataset} has no actions to learn from")

    def label():
        try:
            for batch in itertools.chain([first], batches):
                actions = GAMES["coinrun"].actions.group(batch["action"])
                directions = last_directions(actions)
                labels = {
                    "action": actions,
                    "direction": np.maximum(directions, 0),
                    "theme": batch["theme"],
                }
                weights = {
                    "action": np.ones(actions.shape, "float32"),
                    "direction": (directions >= 0).astype("float32"),
                    "theme": np.ones(len(actions), "float32"),
                }
                video = batch["video"].astype("float32") / 127.5 - 1
                yield video, labels, weights
        finally:
            batches.close()

    return label()


def _test(classifier, examples: Iterator) -> dict[str, Mapping[str, float]]:
    """Return the classifier's accuracy, and that of always the most frequent label."""
    predicted, true = collections.defaultdict(list), collections.defaultdict(list)
    for video, labels, weights in examples:
        for name, logits in classifier.predict_on_batch(video).items():
            is_known = weights[name] > 0
            predicted[name].append(logits.argmax(axis=-1)[is_known])
            true[name].append(labels[name][is_known])
    scores = {}
    for name in true:
        labels = np.concatenate(true[name])
        scores[name] = {
            "accuracy": float(np.mean(np.concatenate(predicted[name]) == labels)),
            "majority": float(np.bincount(labels).max() / len(labels)),
            "labels": len(labels),
        }
    return scores


def run() -> None:
    cli.run(main, define_flags, required=["output"])


if __name__ == "__main__":
    run()
