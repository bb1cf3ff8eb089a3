"""End-to-end runs of genie-features, and the networks it trains."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets.array_episodes import write_arrays
from genie_tf.datasets.procgen.environment import GAMES
from genie_tf.evaluation.action_probe import load_action_probe
from genie_tf.evaluation.feature_networks import load_feature_network
from genie_tf.experiments.features import last_directions, make_networks


class Frames(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Episodes of black frames with a theme, of several sizes, with or without actions."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="still", description="No actions."),
        tfds.core.BuilderConfig(name="small", description="Frames of 32x32."),
        tfds.core.BuilderConfig(name="keys", description="More actions than CoinRun."),
    ]

    def _info(self):
        self.size = 32 if self.builder_config.name == "small" else 64
        step = {
            "observation": tfds.features.Tensor(
                shape=(self.size, self.size, 3), dtype=np.uint8, encoding="zlib"
            ),
            "is_first": np.bool_,
            "is_last": np.bool_,
        }
        if self.builder_config.name != "still":
            step["action"] = np.int32
        features = {
            "steps": tfds.features.Dataset(step),
            "episode_metadata": {"theme": np.int32},
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples() for split in ("train", "test")}

    def _generate_examples(self):
        frame = np.zeros((self.size, self.size, 3), np.uint8)
        step = {"observation": frame, "is_first": False, "is_last": False}
        if self.builder_config.name != "still":
            step["action"] = 20 if self.builder_config.name == "keys" else 0
        yield 0, {"steps": [step] * 16, "episode_metadata": {"theme": 0}}


@pytest.fixture(scope="module")
def run(run_app, data_dir):
    """Function that runs genie-features with some flags changed."""

    def run_changed(folder, **changes):
        flags = {
            "dataset": "coinrun/tiny",
            "data_dir": data_dir,
            "output": "features",
            "steps": 2,
            **changes,
        }
        arguments = [f"--{k}={v}" for k, v in flags.items() if v is not None]
        return run_app("features", *arguments, folder=folder)

    return run_changed


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """Output folder of a short run, and its printed text."""
    folder = tmp_path_factory.mktemp("trained")
    ended = run(folder)
    assert ended.code == 0, ended.errors
    files = {path.name for path in (folder / "features").iterdir()}
    assert files == {"CoinRun.keras", "action_probe.keras", "report.json"}
    return folder / "features", ended.out


def test_action_probe_names_groups_of_actions(trained):
    actions = GAMES["coinrun"].actions
    path = str(trained[0] / "action_probe.keras")
    probe = load_action_probe(path, actions, (64, 64, 3))
    answers = probe(random_clips(6))
    assert answers.shape == (2, 5)
    assert set(answers.ravel()) <= set(actions.groups)


def random_clips(time):
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(2, time, 64, 64, 3), dtype=np.uint8)


def test_file_is_feature_network(trained):
    network = load_feature_network(str(trained[0] / "CoinRun.keras"), "fvd")
    assert network.score_name == "FVD-CoinRun"
    assert (network.frame_size, network.width) == ((64, 64), 32)
    for time in (9, 10, 16):
        assert network(random_clips(time)).shape == (2, 32)


def test_report_has_scores(trained):
    folder, printed = trained
    report = json.loads((folder / "report.json").read_text())
    assert (report["dataset"], report["steps"]) == ("coinrun/tiny", 2)
    scores = report["test"]
    assert scores.keys() == {"action", "direction", "theme"}
    # One batch of clips of 16 frames, of two levels.
    assert scores["action"]["labels"] == 32 * 15
    assert scores["theme"]["labels"] == 32
    assert scores["theme"]["majority"] in (0.5, 1)
    for name, score in scores.items():
        assert 0 <= score["accuracy"] <= 1
        assert f"{name}: {score['accuracy']:.1%} of" in printed
    assert "versions" in report


def test_seed_decides_features(run, trained, tmp_path):
    features = []
    for seed in (0, 1):
        assert run(tmp_path, output=f"{seed}", seed=seed).code == 0
        network = load_feature_network(str(tmp_path / f"{seed}/CoinRun.keras"), "fvd")
        features.append(network(random_clips(9)))
    network = load_feature_network(str(trained[0] / "CoinRun.keras"), "fvd")
    np.testing.assert_allclose(features[0], network(random_clips(9)), atol=1e-4)
    assert np.abs(features[1] - features[0]).max() > 0.01


def test_action_depends_on_neighboring_frames():
    """One kernel spans three frames, each with its change."""
    keras.utils.set_random_seed(0)
    features, classifier = make_networks()
    video = random_clips(12)[:1].astype("float32") / 127.5 - 1
    changed = video.copy()
    changed[:, 6] *= -1
    before, after = (classifier.predict_on_batch(x) for x in (video, changed))
    assert before["action"].shape == (1, 11, 9)
    assert before["direction"].shape == (1, 11, 2)
    assert before["theme"].shape == (1, 6)
    moved = np.abs(after["action"] - before["action"])[0].max(axis=-1) > 1e-6
    # Frame 6 ends step 5 and begins step 6.
    assert np.flatnonzero(moved).tolist() == [4, 5, 6, 7]
    assert features.predict_on_batch(video).shape == (1, 32)


def test_last_direction_held():
    """Groups enumerate left, none, right, and within each down, none, up."""
    groups = np.array([[4, 3, 2, 1, 5, 6, 4, 0], [8, 4, 4, 1, 4, 7, 3, 5]])
    expected = [[-1, -1, 0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(last_directions(groups), expected)


def test_features_depend_on_frame_order():

    keras.utils.set_random_seed(0)
    features, _ = make_networks()
    video = random_clips(9)[:1].astype("float32") / 127.5 - 1
    backwards = features.predict_on_batch(video[:, ::-1])
    assert np.abs(backwards - features.predict_on_batch(video)).max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"output": None}, "expected --output; see --help"),
        ({"dataset": "coinrun/easy"}, "There is no dataset 'coinrun/easy': .*"),
        (
            {"dataset": "arrays"},
            ".* 'arrays' have no 'theme': arrays hold no metadata.",
        ),
        ({"dataset": "frames/still"}, "frames/still has no actions to learn from"),
        (
            {"dataset": "frames/small"},
            r"the model expects frames of \(64, 64, 3\); frames/small has .*32, 32, 3\)",
        ),
        (
            {"dataset": "frames/keys"},
            "Dataset 'frames/keys', split 'train', has the action 20; expected actions "
            "from 0 to 14.",
        ),
        ({"output": "file/below"}, "cannot write to the folder file/below: choose .*"),
        ({"steps": 0}, "flag --steps=0: .*"),
        ({"seed": -1}, "flag --seed=-1: .*"),
    ],
)
def test_invalid_input_is_rejected_in_one_sentence(run, tmp_path, changes, sentence):
    (tmp_path / "file").write_text("no folder")
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    episodes = [(frames, np.zeros(16, int))]
    write_arrays(tmp_path / "arrays", {"train": episodes, "test": episodes})
    if changes.get("dataset", "").startswith("frames/"):
        name = changes["dataset"].split("/")[1]
        builder = Frames(config=name, data_dir=tmp_path)
        builder.download_and_prepare()
        builder.data_path.rename(tmp_path / "made")
        (tmp_path / "frames").mkdir(exist_ok=True)
        (tmp_path / "made").rename(tmp_path / "frames" / f"{name}.tfds")
        changes = {**changes, "dataset": f"frames/{name}.tfds"}
        sentence = sentence.replace(f"frames/{name}", rf"frames/{name}\.tfds")
    ended = run(tmp_path, **changes)
    assert ended.code == 2
    line = ended.errors[-1]
    assert re.fullmatch(f"features(.py)?: {sentence}", line), ended.errors
    assert not (tmp_path / "features").exists()


def test_full_disk_leaves_no_partial_files(run_app, data_dir, tmp_path):
    flags = ["--dataset=coinrun/tiny", "--output=features", "--steps=1"]
    ended = run_app(
        "features",
        *flags,
        f"--data_dir={data_dir}",
        folder=tmp_path,
        largest_file=1000,
    )
    assert ended.code == 2
    assert "File too large" in ended.errors[-1], ended.errors
    assert not list((tmp_path / "features").iterdir())


def test_help_shows_example_and_flags(run_app, tmp_path):
    ended = run_app("features", "--help", folder=tmp_path)
    assert ended.errors == []
    assert "genie-features --dataset=coinrun/random_hard_small" in ended.out
    assert "--steps: " in ended.out
