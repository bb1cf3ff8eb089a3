"""Episodes as arrays: what is written is read, and clips are those of TFDS."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from genie_tf.datasets.array_episodes import (
    ArrayEpisodes,
    is_array_dataset,
    write_arrays,
)
from genie_tf.datasets.clips import clip_batches
from genie_tf.datasets.coinrun import coinrun_dataset_builder, rollouts
from genie_tf.datasets.rlds_episodes import RldsEpisodes, split_names


def episodes(lengths, seed=0, with_actions=True):
    rng = np.random.default_rng(seed)
    for length in lengths:
        frames = rng.integers(256, size=(length, 4, 6, 3), dtype=np.uint8)
        yield frames, rng.integers(15, size=length) if with_actions else None


@pytest.fixture
def folder(tmp_path):
    write_arrays(
        tmp_path / "arrays",
        {"train": episodes([3, 12, 5]), "test": episodes([4], 1, with_actions=False)},
    )
    return tmp_path / "arrays"


def test_clips_are_parts_of_the_episodes_written(folder):
    read = ArrayEpisodes(folder, "train")
    np.testing.assert_array_equal(read.lengths, [3, 12, 5])
    batch = read.read_clips([(1, 7), (0, 0), (2, 2)], 3)
    written = list(episodes([3, 12, 5]))
    for clip, (episode, start) in enumerate([(1, 7), (0, 0), (2, 2)]):
        frames, actions = (column[start : start + 3] for column in written[episode])
        np.testing.assert_array_equal(batch["video"][clip], frames)
        np.testing.assert_array_equal(batch["action"][clip], actions[:2])
    assert (batch["video"].dtype, batch["action"].dtype) == (np.uint8, np.int32)


def test_a_split_may_have_no_actions(folder):
    assert ArrayEpisodes(folder, "test").read_clips([(0, 0)], 2).keys() == {"video"}


def test_arrays_have_no_metadata(folder):
    with pytest.raises(ValueError, match="no 'theme': arrays hold no metadata"):
        ArrayEpisodes(folder, "train").read_metadata("theme")


def test_files_are_plain_arrays_of_numpy(folder):
    video = np.load(folder / "train" / "video.npy", allow_pickle=False)
    expected = np.concatenate([frames for frames, _ in episodes([3, 12, 5])])
    np.testing.assert_array_equal(video, expected)


def test_batches_are_those_of_the_dataset_they_were_made_of(tmp_path):
    config = coinrun_dataset_builder.CoinRunConfig(
        name="tiny",
        description="A few levels.",
        levels={"train": [1, 2], "validation": [10_000]},
        steps_per_level=20,
    )
    coinrun_dataset_builder.Builder(
        config=config, data_dir=tmp_path
    ).download_and_prepare()
    names = split_names("coinrun/tiny", tmp_path)
    assert set(names) == {"train", "validation"}

    def read(split):
        stored = RldsEpisodes("coinrun/tiny", split, tmp_path)
        return map(stored.read_episode, range(len(stored.lengths)))

    write_arrays(tmp_path / "arrays", {split: read(split) for split in names})
    settings = {"clip_length": 5, "batch_size": 3, "seed": 1, "mask_patches": 4}
    batches = [
        clip_batches(dataset, "train", **settings, data_dir=tmp_path)
        for dataset in ("coinrun/tiny", str(tmp_path / "arrays"))
    ]
    for _ in range(4):
        expected, found = map(next, batches)
        assert found.keys() == expected.keys() == {"video", "action", "mask"}
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    for iterator in batches:
        iterator.close()


def test_pixels_are_the_frames_played():
    (episode,) = rollouts.play_level(7, 10)
    decode = tfds.features.Tensor(
        shape=rollouts.FRAME_SHAPE, dtype=np.uint8, encoding="zlib"
    ).decode_example_np
    expected = np.stack([decode(frame) for frame in episode.frames])
    np.testing.assert_array_equal(episode.pixels(), expected)


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        yield from episodes([3])
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_arrays(tmp_path / "arrays", {"train": fail()})
    assert not list(tmp_path.iterdir())


def test_without_tfds_other_datasets_are_not_known(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    settings = {"clip_length": 5, "batch_size": 1, "seed": 0}
    clip_batches(str(folder), "train", **settings).close()
    with pytest.raises(ValueError) as error:
        clip_batches("coinrun/random_hard", "train", **settings)
    assert str(error.value) == (
        "'coinrun/random_hard' is no folder of arrays, which would hold arrays.json, "
        "and TFDS, which may know it by that name, is not installed."
    )


def test_errors_are_one_sentence(folder, tmp_path):
    def error_of(function, *arguments):
        with pytest.raises(ValueError) as error:
            function(*arguments)
        return str(error.value)

    assert error_of(write_arrays, folder, {}) == (
        f"{folder} exists already: choose another folder."
    )
    empty = {"train": iter(())}
    assert error_of(write_arrays, tmp_path / "b", empty) == (
        "The split train has no episodes."
    )
    assert not is_array_dataset(tmp_path / "b")
    assert error_of(ArrayEpisodes, folder, "valid") == (
        f"Dataset '{folder}' has no split 'valid': its splits are train, test."
    )
    video = folder / "train" / "video.npy"
    video.write_bytes(video.read_bytes()[:-10])
    assert error_of(ArrayEpisodes, folder, "train").startswith(
        f"Expected {video} to hold a whole array; it does not ("
    )
    video.unlink()
    assert error_of(ArrayEpisodes, folder, "train").startswith(
        f"Expected {video} to hold a whole array; it does not ("
    )
