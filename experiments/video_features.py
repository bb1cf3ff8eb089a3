"""Trains a small classifier of CoinRun videos, whose features FVD then compares.

genie-features --dataset=coinrun/random_hard_small --output=runs/features

Writes CoinRun.keras, which makes of video, float32 (batch, time, 64, 64, 3) in [-1, 1],
features (batch, 32): a feature network for `load_feature_network`, without a download.
It was trained to tell two things of clips of the train split: the theme of the level,
which is how things look, and of each step the action, which is how things move.
report.json has how often both are right on clips of the test split.
"""

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
# To test on, at most.
_TEST_CLIPS = 1024
_LEARNING_RATE = 3e-3


def define_flags() -> None:
    flags.DEFINE_string("dataset", "coinrun/random_hard_small", "A CoinRun dataset.")
    flags.DEFINE_string("output", None, "Folder for CoinRun.keras and report.json.")
    flags.DEFINE_integer("steps", 400, "Steps of 32 clips.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Chooses weights and clips.", lower_bound=0)
    flags.DEFINE_string("data_dir", None, "Where TFDS keeps its datasets.")


def main() -> None:
    from genie_tf.datasets.clips import num_clips

    cli.check_folder(FLAGS.output)
    with cli.user_errors():
        train, test = (_labelled_clips(split) for split in ("train", "test"))
        test_clips = num_clips(
            FLAGS.dataset, "test", _CLIP_LENGTH, data_dir=FLAGS.data_dir
        )
    # Imported here so that --help and wrong input answer at once.
    import keras
    from genie_tf.experiments import report
    from tqdm import tqdm

    from genie_tf import media

    keras.utils.set_random_seed(FLAGS.seed)
    features, classifier = make_networks()
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, FLAGS.steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # XLA takes ten times as long for these convolutions on a CPU.
    classifier.compile(
        keras.optimizers.Adam(rate),
        {"action": loss, "theme": loss},
        jit_compile=False,
    )
    with tqdm(itertools.islice(train, FLAGS.steps), "train", FLAGS.steps) as steps:
        for video, labels in steps:
            losses = classifier.train_on_batch(video, labels, return_dict=True)
            steps.set_postfix(loss=f"{losses['loss']:.3f}")
    test_steps = -(-min(test_clips, _TEST_CLIPS) // _BATCH)
    scores = _test(classifier, itertools.islice(test, test_steps))
    train.close()
    test.close()

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
        with media.replacing(folder / "CoinRun.keras") as path:
            features.save(path)
        with media.replacing(folder / "report.json") as path:
            path.write_text(text + "\n")
    for name, score in scores.items():
        print(
            f"{name}: {score['accuracy']:.1%} of {score['labels']:,} right on held-out "
            f"levels; the most frequent one would be, {score['majority']:.1%}."
        )
    print(f"Wrote {folder}/CoinRun.keras and report.json.")


def make_networks():
    """Builds the network of features, and the classifier that trains it.

    Returns:
        Two Keras models of video, float32 (batch, time, 64, 64, 3) in [-1, 1]. The
        first, "CoinRun", returns features (batch, 32). The second one, of the same
        weights, returns logits: "action" (batch, time-1, 9), of what was done between
        frames t and t+1, and "theme" (batch, 6).
    """
    import keras
    from genie_tf.datasets.coinrun.rollouts import NUM_THEMES
    from keras import layers

    from genie_tf.metrics.controllability import COINRUN_ACTION_GROUPS

    # Each frame but the first beside its change, in which an action shows.
    video = keras.Input((None, *_FRAME_SHAPE))
    after = layers.Cropping3D(((1, 0), (0, 0), (0, 0)))(video)
    before = layers.Cropping3D(((0, 1), (0, 0), (0, 0)))(video)
    change = layers.Subtract()([after, before])
    x = layers.Concatenate()([after, change])
    # From 64x64 to 4x4; time stays, for actions differ from step to step.
    for channels, kernel in ((24, (1, 5, 5)), (32, 3), (64, 3), (96, (1, 3, 3))):
        x = layers.Conv3D(channels, kernel, (1, 2, 2), padding="same", use_bias=False)(
            x
        )
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    x = layers.Reshape((-1, x.shape[-3] * x.shape[-2] * x.shape[-1]))(x)
    x = layers.Dense(_WIDTH, name="features")(x)
    features = layers.GlobalAveragePooling1D()(x)

    actions = layers.Dense(len(COINRUN_ACTION_GROUPS), name="action")
    themes = layers.Dense(NUM_THEMES, name="theme")
    logits = {
        "action": actions(layers.ReLU()(x)),
        "theme": themes(layers.ReLU()(features)),
    }
    return keras.Model(video, features, name="CoinRun"), keras.Model(video, logits)


def _labelled_clips(split: str) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Endless batches of clips, with the labels of `make_networks`."""
    from genie_tf.datasets.clips import clip_batches

    from genie_tf.metrics.controllability import coinrun_action_groups

    batches = clip_batches(
        FLAGS.dataset,
        split,
        clip_length=_CLIP_LENGTH,
        batch_size=_BATCH,
        seed=FLAGS.seed,
        metadata="theme",
        data_dir=FLAGS.data_dir,
    )
    first = next(batches)
    cli.check_frames(_FRAME_SHAPE, first["video"], FLAGS.dataset)
    if "action" not in first:
        raise cli.UserError(f"{FLAGS.dataset} has no actions, of which to learn")
    coinrun_action_groups(first["action"])

    def label():
        try:
            for batch in itertools.chain([first], batches):
                groups = coinrun_action_groups(batch["action"])
                video = batch["video"].astype("float32") / 127.5 - 1
                yield video, {"action": groups, "theme": batch["theme"]}
        finally:
            batches.close()

    return label()


def _test(classifier, examples: Iterator) -> dict[str, Mapping[str, float]]:
    """How often the classifier is right, and would be who always says the same."""
    found, true = {"action": [], "theme": []}, {"action": [], "theme": []}
    for video, labels in examples:
        logits = classifier.predict_on_batch(video)
        for name in found:
            found[name].append(logits[name].argmax(axis=-1).ravel())
            true[name].append(labels[name].ravel())
    scores = {}
    for name in found:
        answers, labels = np.concatenate(found[name]), np.concatenate(true[name])
        scores[name] = {
            "accuracy": float(np.mean(answers == labels)),
            "majority": float(np.bincount(labels).max() / len(labels)),
            "labels": len(labels),
        }
    return scores


def run() -> None:
    cli.run(main, define_flags, required=["output"])


if __name__ == "__main__":
    run()
