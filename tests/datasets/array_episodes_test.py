"""Array datasets: written episodes are read back, and clips equal those of TFDS."""

import os

import numpy as np
import pytest

from genie_tf.datasets.actions import Actions
from genie_tf.datasets.array_episodes import (
    ArrayEpisodes,
    is_array_dataset,
    write_arrays,
)
from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.coinrun import coinrun_dataset_builder
from genie_tf.datasets.episodes import open_episodes
from genie_tf.datasets.episodes import split_names as all_split_names
from genie_tf.datasets.rlds_episodes import RldsEpisodes, split_names
from genie_tf.errors import DataError


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


def test_clips_are_parts_of_written_episodes(folder):
    read = ArrayEpisodes(folder, "train")
    np.testing.assert_array_equal(read.lengths, [3, 12, 5])
    batch = read.read_clips([(1, 7), (0, 0), (2, 2)], 3)
    written = list(episodes([3, 12, 5]))
    for clip, (episode, start) in enumerate([(1, 7), (0, 0), (2, 2)]):
        frames, actions = (column[start : start + 3] for column in written[episode])
        np.testing.assert_array_equal(batch["video"][clip], frames)
        np.testing.assert_array_equal(batch["action"][clip], actions[:2])
    assert (batch["video"].dtype, batch["action"].dtype) == (np.uint8, np.int32)


def test_split_without_actions_has_only_video(folder):
    assert ArrayEpisodes(folder, "test").read_clips([(0, 0)], 2).keys() == {"video"}


def test_reading_metadata_is_an_error(folder):
    with pytest.raises(ValueError, match="no 'theme': arrays hold no metadata"):
        ArrayEpisodes(folder, "train").read_metadata("theme")


def test_video_file_is_plain_numpy_array(folder):
    video = np.load(folder / "train" / "video.npy", allow_pickle=False)
    expected = np.concatenate([frames for frames, _ in episodes([3, 12, 5])])
    np.testing.assert_array_equal(video, expected)


def test_batches_equal_those_of_original_dataset(tmp_path):
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
    batches = [
        ClipDataset(open_episodes(dataset, "train", tmp_path), 5).batches(3, seed=1)
        for dataset in ("coinrun/tiny", str(tmp_path / "arrays"))
    ]
    for _ in range(4):
        expected, actual = map(next, batches)
        assert actual.keys() == expected.keys() == {"video", "action"}
        for name in expected:
            np.testing.assert_array_equal(actual[name], expected[name])
    for iterator in batches:
        iterator.close()


def test_action_names_and_groups_are_stored(folder, tmp_path):
    assert ArrayEpisodes(folder, "train").actions is None
    actions = Actions(("left", "wait", "sleep"), (0, 1, 1))
    frames = np.zeros((4, 4, 6, 3), np.uint8)
    splits = {"train": [(frames, np.array([0, 1, 3, 0]))], "test": [(frames, None)]}
    write_arrays(tmp_path / "named", splits, actions)
    episodes = open_episodes(str(tmp_path / "named"), "train")
    assert episodes.actions == actions
    episodes.read_clips([(0, 0)], 3)
    with pytest.raises(
        DataError, match="has the action 3; expected actions from 0 to 2"
    ):
        episodes.read_clips([(0, 0)], 4)


def test_failed_write_leaves_no_files(tmp_path):
    def fail():
        yield from episodes([3])
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_arrays(tmp_path / "arrays", {"train": fail()})
    assert not list(tmp_path.iterdir())


def test_only_arrays_open_without_tfds(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    open_episodes(str(folder), "train")
    with pytest.raises(ValueError) as error:
        open_episodes("coinrun/random_hard", "train")
    assert str(error.value) == (
        "'coinrun/random_hard' is not a folder with an arrays.json, and TFDS, which may "
        "know a dataset of that name, is not installed."
    )


FRAMES = np.zeros((3, 4, 6, 3), np.uint8)
ACTIONS = np.arange(3)
FORM = "; expected uint8 (steps, height, width, 3), from 0 to 255"
WRONG_EPISODES = {
    "floats": (
        (FRAMES / 255, ACTIONS),
        f"frames of float64 (3, 4, 6, 3){FORM}; frames from 0 to 1 become bytes by "
        "(255 * frames).round().astype('uint8').",
    ),
    "int16": ((FRAMES.astype(np.int16), None), f"frames of int16 (3, 4, 6, 3){FORM}."),
    "gray": ((FRAMES[..., 0], None), f"frames of uint8 (3, 4, 6){FORM}."),
    "one channel": ((FRAMES[..., :1], None), f"frames of uint8 (3, 4, 6, 1){FORM}."),
    "no channel": ((FRAMES[..., :0], None), f"frames of uint8 (3, 4, 6, 0){FORM}."),
    "no frames": ((FRAMES[:0], None), f"frames of uint8 (0, 4, 6, 3){FORM}."),
    "another size": (
        (FRAMES[:, :2], ACTIONS),
        "frames of (2, 6, 3), and earlier ones have (4, 6, 3); expected frames of one "
        "size.",
    ),
    "an action too few": (
        (FRAMES, ACTIONS[:-1]),
        "actions of int64 (2,); expected integers (3,), one for each frame.",
    ),
    "actions of two axes": (
        (FRAMES, ACTIONS[:, None]),
        "actions of int64 (3, 1); expected integers (3,), one for each frame.",
    ),
    "whole floats": (
        (FRAMES, ACTIONS.astype(float)),
        "actions of float64 (3,); expected integers (3,), one for each frame.",
    ),
    "negative": (
        (FRAMES, ACTIONS - 1),
        "the action -1; expected actions from 0 to 2147483647.",
    ),
    "64 bits": (
        (FRAMES, ACTIONS + 2**31),
        "the action 2147483648; expected actions from 0 to 2147483647.",
    ),
    "no actions": (
        (FRAMES, None),
        "no actions, unlike earlier ones; expected actions for all episodes of a split, "
        "or for none.",
    ),
}


@pytest.mark.parametrize(
    ("episode", "message"), WRONG_EPISODES.values(), ids=WRONG_EPISODES
)
def test_write_rejects_episodes_of_another_form(tmp_path, episode, message):
    with pytest.raises(DataError) as error:
        write_arrays(tmp_path / "a", {"train": [(FRAMES, ACTIONS), episode]})
    assert str(error.value) == f"Episode 1 of split 'train' has {message}"
    assert not list(tmp_path.iterdir())


def test_write_rejects_splits_with_different_frame_sizes(tmp_path):
    splits = {"train": [(FRAMES, None)], "test": [(FRAMES[:, :, :3], None)]}
    with pytest.raises(DataError, match="Episode 0 of split 'test' has frames of "):
        write_arrays(tmp_path / "a", splits)


def test_write_rejects_actions_after_episode_without_actions(tmp_path):
    with pytest.raises(
        DataError, match="Episode 1 of split 'train' has actions, unlike"
    ):
        write_arrays(tmp_path / "a", {"train": [(FRAMES, None), (FRAMES, ACTIONS)]})


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint64])
def test_actions_of_any_integer_type_are_read_as_int32(tmp_path, dtype):
    actions = np.array([0, 1, 1], dtype)
    write_arrays(tmp_path / "a", {"train": [(FRAMES, actions)]})
    stored = ArrayEpisodes(tmp_path / "a", "train").read_numbers(0)["action"]
    assert stored.dtype == np.int32
    np.testing.assert_array_equal(stored, [0, 1, 1])


def replace(name, change):
    """Return a function that changes one array of a folder's train split."""

    def change_folder(folder):
        path = folder / "train" / f"{name}.npy"
        np.save(path, change(np.load(path)))

    return change_folder


def describe(text):
    return lambda folder: (folder / "arrays.json").write_text(text)


def unlink(folder):
    (folder / "train" / "video.npy").unlink()


def cut(folder):
    path = folder / "train" / "video.npy"
    path.write_bytes(path.read_bytes()[:-10])


def make_pipe(folder):
    unlink(folder)
    os.mkfifo(folder / "train" / "video.npy")


def make_pickle(folder):
    array = np.array([print], object)
    np.save(folder / "train" / "video.npy", array, allow_pickle=True)


WRONG_FOLDERS = {
    "a missing file": (
        unlink,
        "video.npy to hold a complete array; it does not (there is no",
    ),
    "a file cut short": (
        cut,
        "video.npy to hold a complete array; it does not (mmap length",
    ),
    "a pipe": (
        make_pipe,
        "video.npy to hold a complete array; it does not (there is no such",
    ),
    "objects": (
        make_pickle,
        "complete array; it does not (Array can't be memory-mapped",
    ),
    "floats": (
        replace("video", lambda x: x / 255),
        "holds float64 (20, 4, 6, 3); expe",
    ),
    "gray": (
        replace("video", lambda x: x[..., 0]),
        "holds uint8 (20, 4, 6); expected u",
    ),
    "one channel": (
        replace("video", lambda x: x[..., :1]),
        "(frames, height, width, 3).",
    ),
    "a frame less": (
        replace("video", lambda x: x[1:]),
        "has 19 frames; expected 20, the",
    ),
    "an action less": (
        replace("action", lambda x: x[1:]),
        "has 19 frames; expected 20,",
    ),
    "int64": (
        replace("action", np.int64),
        "holds int64 (20,); expected int32 (frames).",
    ),
    "big-endian": (
        replace("action", lambda x: x.astype(">i4")),
        "expected int32 (frames)",
    ),
    "negative": (
        replace("action", lambda x: x - 9),
        "the action -9; expected actions fro",
    ),
    "lengths": (
        replace("lengths", lambda x: x * 2),
        "has 20 frames; expected 40, the sum",
    ),
    "zeros": (
        replace("lengths", lambda x: x * 0),
        "has an episode of 0 frames; expected",
    ),
    "overflow": (
        replace("lengths", lambda x: np.array([2**62] * 4 + [20])),
        "has 20 frames; expected 18446744073709551636, the sum of",
    ),
    "one length": (
        replace("lengths", lambda x: x[0]),
        "holds int64 (); expected int64 (e",
    ),
    "not JSON": (describe("{"), "arrays.json cannot be read: Expecting property name"),
    "a list": (describe("[]"), "arrays.json cannot be read: list indices"),
    "no splits": (
        describe('{"splits": {}}'),
        "arrays.json to name splits, such as train",
    ),
    "names": (
        describe('{"splits": ["train"]}'),
        "arrays.json cannot be read: 'list' obj",
    ),
    "deep": (
        describe("[" * 10**6),
        "arrays.json cannot be read: it is nested too deeply",
    ),
    "a path": (
        describe('{"splits": {"../train": ["video", "lengths"]}}'),
        "arrays.json to name splits, such as train and test; received '../train'.",
    ),
    "no video": (
        describe('{"splits": {"train": ["lengths"]}}'),
        "must list the arrays v",
    ),
    "more": (
        describe('{"splits": {"train": ["video", "lengths", "../../x"]}}'),
        "must list the arrays video, lengths and, if there are actions, action for each",
    ),
}


@pytest.mark.parametrize(
    ("change", "message"), WRONG_FOLDERS.values(), ids=WRONG_FOLDERS
)
def test_opening_rejects_folders_of_another_form(folder, change, message):
    change(folder)
    with pytest.raises(DataError) as error:
        ArrayEpisodes(folder, "train")
    assert message in str(error.value)
    assert str(folder) in str(error.value)


def test_fortran_order_is_read(folder):
    expected = list(map(np.array, ArrayEpisodes(folder, "train").read_episode(1)))
    replace("video", np.asfortranarray)(folder)
    np.testing.assert_equal(
        ArrayEpisodes(folder, "train").read_episode(1), tuple(expected)
    )


def test_urls_are_rejected_and_home_is_expanded(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_arrays("~/mine", {"train": episodes([3])})
    assert (tmp_path / "mine").is_dir()
    assert open_episodes("~/mine", "train").lengths == [3]
    assert all_split_names("~/mine") == ["train"]
    for function in (ArrayEpisodes, open_episodes, write_arrays):
        with pytest.raises(ValueError, match="Expected a path on this machine"):
            function("gs://bucket/mine", "train")


def test_errors_are_one_sentence(folder, tmp_path):
    def error_message(function, *arguments):
        with pytest.raises(ValueError) as error:
            function(*arguments)
        return str(error.value)

    assert error_message(write_arrays, folder, {}) == (
        f"{folder} exists already: choose another folder."
    )
    new = tmp_path / "b"
    assert error_message(write_arrays, new, {"train": iter(())}) == (
        "Split 'train' has no episodes."
    )
    assert error_message(write_arrays, new, {}) == (
        "Expected `splits` to name splits, such as train and test; received none."
    )
    assert error_message(write_arrays, new, []) == (
        "Expected `splits` to map names of splits to their episodes; received list."
    )
    assert error_message(write_arrays, new, {3: []}) == (
        "Expected `splits` to name splits, such as train and test; received 3."
    )
    assert error_message(write_arrays, new, {"train/x": []}) == (
        "Expected `splits` to name splits, such as train and test; received 'train/x'."
    )
    assert error_message(write_arrays, new, {"train": [FRAMES]}) == (
        "Episode 0 of split 'train' is ndarray; expected a pair of frames and actions, "
        "or of frames and None."
    )
    assert not is_array_dataset(new)
    assert error_message(ArrayEpisodes, folder, "train[:10%]") == (
        f"Dataset '{folder}' has no split 'train[:10%]': its splits are train, test."
    )
