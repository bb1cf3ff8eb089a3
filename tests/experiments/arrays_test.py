"""End-to-end runs of genie-arrays with unsuitable datasets or a full disk."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets.episodes import open_episodes
from genie_tf.datasets.procgen.environment import GAMES


class TwoSizes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Two episodes with frames of two sizes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        step = {"observation": tfds.features.Image(), "is_first": np.bool_}
        features = tfds.features.FeaturesDict({"steps": tfds.features.Dataset(step)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for side in (8, 12):
            frame = np.zeros((side, 8, 3), np.uint8)
            steps = [{"observation": frame, "is_first": step == 0} for step in range(4)]
            yield side, {"steps": steps}


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory):
    builder = TwoSizes(data_dir=tmp_path_factory.mktemp("two_sizes"))
    builder.download_and_prepare()
    return builder.data_path


def test_frames_of_two_sizes_are_rejected(run_app, two_sizes, tmp_path):
    flags = f"--dataset={two_sizes}", "--output=arrays"
    ended = run_app("arrays", *flags, folder=tmp_path)
    assert ended.code == 2
    assert ended.errors[-1].startswith(
        "arrays.py: Episode 1 of split 'train' has frames"
    )
    assert not list(tmp_path.iterdir())


def test_preview_shows_frames_of_two_sizes(run_app, two_sizes, tmp_path):
    flags = f"--dataset={two_sizes}", "--output=shown"
    ended = run_app("preview", *flags, folder=tmp_path)
    assert ended.code == 0, ended.errors
    assert "8x8, 12x8" in (tmp_path / "shown/statistics.md").read_text()


def test_full_disk_leaves_no_files(run_app, data_dir, tmp_path):
    flags = "--dataset=coinrun/tiny", f"--data_dir={data_dir}", "--output=arrays"
    ended = run_app("arrays", *flags, folder=tmp_path, largest_file=20_000)
    assert ended.code == 2
    assert ended.errors[-1] == (
        "arrays.py: arrays was not written: [Errno 27] File too large"
    )
    assert not list(tmp_path.iterdir())
    assert run_app("arrays", *flags, folder=tmp_path).code == 0
    episodes = open_episodes(str(tmp_path / "arrays"), "train")
    assert episodes.actions == GAMES["coinrun"].actions


NO_CONFIG = (
    "There is no dataset 'coinrun/easy': the configs of 'coinrun' are random_h.*"
)
NO_FOLDER = "cannot write to the folder file/below: choose another"
# Invalid input: the run, its changed flags, and a pattern of the error.
WRONG = [
    ("arrays", {"output": "file/below"}, NO_FOLDER),
    ("arrays", {"output": "part"}, "part exists already: choose another folder."),
    ("arrays", {"dataset": "coinrun/easy"}, NO_CONFIG),
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)
