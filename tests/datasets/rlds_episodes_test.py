"""Records that do not match the dataset's features, and damaged files."""

import io
import os
import random
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from genie_tf.datasets.rlds_episodes import RldsEpisodes, split_names
from genie_tf.errors import DataError

LENGTHS = (6, 0, 4, 9)
SHAPE = (8, 6, 3)
OBSERVATIONS = {
    "zlib": tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding="zlib"),
    "bytes": tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding="bytes"),
    "plain": tfds.features.Tensor(shape=SHAPE, dtype=np.uint8),
    "image": tfds.features.Image(shape=SHAPE),
    "any_size": tfds.features.Image(),
}


def frame(number):
    rng = np.random.default_rng(number)
    return rng.integers(256, size=SHAPE, dtype=np.uint8)


class Kinds(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Episodes of LENGTHS, with one config per feature in OBSERVATIONS."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in OBSERVATIONS]

    def _info(self):
        step = {
            "observation": OBSERVATIONS[self.builder_config.name],
            "action": np.bool_ if self.builder_config.name == "bytes" else np.int64,
            "reward": np.float32,
            "is_first": np.bool_,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "steps": tfds.features.Dataset(step),
                    "episode_metadata": {"theme": np.int64},
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for episode, length in enumerate(LENGTHS):
            steps = [
                {
                    "observation": frame(step),
                    "action": step % 2,
                    "reward": step / 2,
                    "is_first": step == 0,
                }
                for step in range(length)
            ]
            yield episode, {"steps": steps, "episode_metadata": {"theme": length}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Function that builds a dataset of one kind and returns its folder."""
    data_dir = tmp_path_factory.mktemp("kinds")

    def build(kind):
        builder = Kinds(config=kind, data_dir=data_dir)
        builder.download_and_prepare()
        return Path(builder.data_path)

    return build


@pytest.fixture
def changed(whole, tmp_path):
    """Function that copies a dataset and changes records of its train split."""

    def change_record(kind, change, records=slice(-1, None)):
        folder = shutil.copytree(whole(kind), tmp_path / "changed")
        (path,) = map(str, folder.glob("*train*"))
        examples = [
            tf.train.Example.FromString(record)
            for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
        ]
        examples.sort(
            key=lambda x: len(x.features.feature["steps/is_first"].int64_list.value)
        )
        for example in examples[records]:
            change(example.features.feature)
        with tf.io.TFRecordWriter(path) as writer:
            for example in examples:
                writer.write(example.SerializeToString())
        return folder, path

    return change_record


def read_all(folder):
    assert split_names(str(folder)) == ["train", "test"]
    episodes = RldsEpisodes(str(folder), "train")
    for episode, length in enumerate(episodes.lengths):
        episodes.read_numbers(episode)
        episodes.read_episode(episode)
        episodes.read_clips([(episode, 0)], int(length))
    episodes.read_metadata("theme")
    return episodes


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_frames_and_actions_are_read_back(whole, kind, caplog):
    episodes = read_all(whole(kind))
    assert sorted(episodes.lengths) == [4, 6, 9]
    assert "1 of 4 episodes have no steps and are skipped" in caplog.text
    np.testing.assert_array_equal(episodes.read_metadata("theme"), episodes.lengths)
    assert episodes.frame_shape == SHAPE
    for episode, length in enumerate(episodes.lengths):
        frames, actions = episodes.read_episode(episode)
        np.testing.assert_array_equal(frames, np.stack(list(map(frame, range(length)))))
        np.testing.assert_array_equal(actions, np.arange(length) % 2)
        assert actions.dtype == np.int32
        reward = episodes.read_numbers(episode)["reward"]
        np.testing.assert_array_equal(reward, np.arange(length) / 2)


def test_mixed_frame_sizes_are_scaled_or_rejected(changed):
    folder, _ = changed("any_size", put(png(np.zeros((16, 6, 3), np.uint8))))
    scaled = RldsEpisodes(str(folder), "train", frame_size=(4, 4))
    assert {scaled.read_episode(i)[0].shape[1:] for i in range(3)} == {(4, 4, 3)}
    assert scaled.frame_shape == (4, 4, 3)
    with pytest.raises(
        DataError, match=r"several sizes, \(8, 6\) and \(16, 6\): scale"
    ):
        read_all(folder)


# Changes that make a record disagree with the features.


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def remove(name):
    def change(feature):
        del feature[f"steps/{name}"]

    return change


def shorten(name, kind):
    return lambda feature: getattr(feature[f"steps/{name}"], kind).value.pop()


def store(name, **lists):
    return lambda feature: feature[f"steps/{name}"].CopyFrom(tf.train.Feature(**lists))


def put(value, name="observation", kind="bytes_list"):
    """Replace the value of the first step, which is read on opening, and the last."""

    def change(feature):
        values = getattr(feature[f"steps/{name}"], kind).value
        values[0] = values[-1] = value

    return change


# A PNG that declares a size of 65,000 x 65,000 pixels.
HUGE = png(np.zeros(SHAPE, np.uint8))
HUGE = HUGE[:16] + 2 * (65_000).to_bytes(4, "big") + HUGE[24:]
HUGE = HUGE[:29] + zlib.crc32(HUGE[12:29]).to_bytes(4, "big") + HUGE[33:]

FLOATS = {"float_list": tf.train.FloatList(value=[1.0] * 9)}
WRONG = {
    "no frames": ("zlib", remove("observation"), "steps/observation is missing"),
    "a frame too few": (
        "zlib",
        shorten("observation", "bytes_list"),
        r"not \d in a by",
    ),
    "a bomb": ("zlib", put(zlib.compress(bytes(10**8))), "a step cannot be decoded"),
    "too little": ("zlib", put(zlib.compress(bytes(9))), "its size is not 144 bytes"),
    "not zlib": ("zlib", put(b"garbage"), "a step cannot be decoded"),
    "too few bytes": ("bytes", put(bytes(143)), "its size is not 144 bytes"),
    "numbers": ("image", store("observation", **FLOATS), "values in a float_list, not"),
    "another size": ("image", put(png(np.zeros((6, 8, 3), "u1"))), "is .6, 8., not .8"),
    "a huge image": ("image", put(HUGE), "exceeds limit of"),
    "a bomb of any size": ("any_size", put(HUGE), "exceeds limit of"),
    "no image": ("image", put(b"garbage"), "a step cannot be decoded"),
    "half an image": ("image", put(png(frame(0))[:70]), "a step cannot be decoded"),
    "a pixel too few": (
        "plain",
        shorten("observation", "int64_list"),
        r"not \d+ in a int64",
    ),
    "no byte": ("plain", put(256, "observation", "int64_list"), "that are not uint8"),
    "no actions": ("zlib", remove("action"), "steps/action is missing"),
    "an action too few": (
        "zlib",
        shorten("action", "int64_list"),
        r"not \d in a int64",
    ),
    "float actions": ("zlib", store("action", **FLOATS), "values in a float_list, not"),
    "a large action": (
        "zlib",
        put(2**31, "action", "int64_list"),
        "expected actions that fit 32",
    ),
    "no boolean": ("bytes", put(2, "action", "int64_list"), "that are not bool"),
    "no is_first": ("zlib", remove("is_first"), "there is no steps/is_first"),
    "other lengths": ("zlib", shorten("is_first", "int64_list"), "values in a"),
}


@pytest.mark.parametrize(("kind", "change", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("which", ["all", "last"])
def test_records_are_checked_against_features(changed, kind, change, message, which):
    def change_filled(feature):
        if feature["steps/is_first"].int64_list.value:
            change(feature)

    records = slice(None) if which == "all" else slice(-1, None)
    folder, path = changed(kind, change_filled, records)
    with pytest.raises(DataError, match=message) as error:
        if which == "all":  # The error is raised on opening.
            RldsEpisodes(str(folder), "train")
        else:
            read_all(folder)
    assert str(error.value).startswith(path)


def test_unknown_action_is_rejected(whole):
    folder = str(whole("zlib"))
    RldsEpisodes(folder, "train", num_actions=2).read_clips([(0, 0)], 3)
    episodes = RldsEpisodes(folder, "train", num_actions=1)
    with pytest.raises(DataError) as error:
        episodes.read_clips([(0, 0)], 3)
    assert str(error.value) == (
        f"Dataset {folder!r}, split 'train', has the action 1; expected actions from 0 "
        "to 0."
    )


@pytest.mark.parametrize(
    "split",
    [
        *("", "trian", "train[", "train[:abc]", "train[:200%]"),
        *(
            "train[::2]",
            "train+trian",
            "train test",
            "train[5:2]",
            "+",
            "train+",
            "[:1]",
        ),
    ],
)
def test_unknown_split_is_rejected(whole, split):
    with pytest.raises(ValueError) as error:
        RldsEpisodes(str(whole("zlib")), split)
    assert str(error.value) == (
        f"Dataset '{whole('zlib')}' has no split {split!r}: its splits are train, test, "
        "or parts of them such as 'train[:10%]'."
    )


def test_splits_can_be_joined(whole):
    episodes = RldsEpisodes(str(whole("zlib")), "train[:50%]+test")
    assert len(episodes.lengths) in (4, 5)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff\0", b"[" * 10**6]
)
def test_invalid_description_is_rejected(whole, tmp_path, name, content):
    folder = shutil.copytree(whole("zlib"), tmp_path / "copy")
    (folder / name).write_bytes(content)
    with pytest.raises(
        DataError, match=f"The description of the dataset in {folder}, "
    ):
        read_all(folder)


def test_description_does_not_import_modules(whole, tmp_path, monkeypatch):
    folder = shutil.copytree(whole("zlib"), tmp_path / "copy")
    (tmp_path / "evil.py").write_text("raise SystemExit('I run.')")
    monkeypatch.syspath_prepend(tmp_path)
    features = folder / "features.json"
    name = "tensorflow_datasets.core.features.tensor_feature.Tensor"
    assert name in features.read_text()
    features.write_text(features.read_text().replace(name, "evil.Tensor"))
    with pytest.raises(DataError, match="'evil.Tensor' is not a feature of TFDS"):
        read_all(folder)


def test_shard_must_be_regular_file(whole, tmp_path):
    folder = shutil.copytree(whole("zlib"), tmp_path / "copy")
    (shard,) = folder.glob("*train*")
    shard.unlink()
    with pytest.raises(DataError, match=f"{shard} is missing"):
        read_all(folder)
    os.mkfifo(shard)
    with pytest.raises(DataError, match=f"{shard} is missing"):
        read_all(folder)


def test_damaged_file_is_named(whole, tmp_path):
    """Bytes changed, removed or inserted anywhere are detected, or have no effect."""
    rng = random.Random(0)
    expected = [read_all(whole(kind)).read_episode(2) for kind in ("zlib", "image")]
    num_found = 0
    for attempt in range(120):
        kind = attempt % 2
        folder = shutil.copytree(
            whole(("zlib", "image")[kind]), tmp_path / f"{attempt}"
        )
        file = rng.choice([*folder.glob("*train*"), *folder.glob("*.json")])
        content = file.read_bytes()
        place = rng.randrange(len(content))
        new = bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
        rest = rng.choice([content[place + len(new) :], content[place:], b""])
        file.write_bytes(content[:place] + new + rest)
        try:
            episode = read_all(folder).read_episode(2)
        except ValueError as error:
            assert str(folder) in str(error)
            num_found += 1
        else:
            np.testing.assert_equal(episode, expected[kind])
        shutil.rmtree(folder)
    assert num_found > 60


@pytest.mark.parametrize("name", ["", "/", "a//b", "../x", "x y", "coinrun/", "co\0in"])
def test_unknown_dataset_is_rejected(tmp_path, name):
    with pytest.raises(ValueError) as error:
        split_names(name, tmp_path)
    assert str(error.value).startswith(
        f"There is no dataset {name!r}: genie_tf has coin"
    )


def test_unknown_version_is_rejected(tmp_path):
    message = "^Dataset 'coinrun:9.9.9' cannot be opened or built: .* only: 2.1.0.$"
    with pytest.raises(ValueError, match=message):
        split_names("coinrun:9.9.9", tmp_path)


def test_urls_are_rejected_and_home_is_expanded(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(whole("zlib").parent))
    assert split_names("~/1.0.0") == ["train", "test"]
    for arguments in (("gs://bucket/data",), ("coinrun/tiny", "s3://bucket/data")):
        with pytest.raises(ValueError, match="Expected a path on this machine"):
            split_names(*arguments)
