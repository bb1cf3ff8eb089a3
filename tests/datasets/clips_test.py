"""Tests of clip batches, on episodes whose pixels and actions encode their position."""

import itertools
import threading
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets import clips, rlds_decoding
from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.coinrun import coinrun_dataset_builder
from genie_tf.datasets.episodes import open_episodes

LENGTHS = (3, 40, 17, 8, 4, 25, 16, 9)  # 3 and 4 are too short for clips of 5
CLIP_LENGTH = 5
CLIPS_PER_EPISODE = [length // CLIP_LENGTH for length in LENGTHS]


class NumberedEpisodes(tfds.core.GeneratorBasedBuilder):
    """Step s of episode e shows one pixel, (e, s, 0), and has action 1000 e + s.

    In the config plain, the episode metadata hold -7 e.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="plain", description="Frames are observations."),
        tfds.core.BuilderConfig(name="robot", description="Frames are among others."),
        tfds.core.BuilderConfig(name="numbers", description="No episodes at all."),
    ]

    def _info(self):
        shape = (1, 1, 3)
        flags = {"is_first": np.bool_, "is_last": np.bool_}
        plain = {
            "observation": tfds.features.Tensor(
                shape=shape, dtype=np.uint8, encoding="zlib"
            ),
            "action": np.int64,
        }
        robot = {
            "observation": {
                "image": tfds.features.Image(shape=shape),
                "instruction": tfds.features.Text(),
            },
            "action": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        }
        features = {
            "plain": {
                "steps": tfds.features.Dataset(plain | flags),
                "episode_metadata": {"sevens": np.int64, "name": tfds.features.Text()},
            },
            "robot": {"steps": tfds.features.Dataset(robot | flags)},
            "numbers": {"number": np.int64},
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features[self.builder_config.name]),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for episode, length in enumerate(LENGTHS):
            if self.builder_config.name == "numbers":
                yield episode, {"number": episode}
            else:
                steps = (self._step(episode, step, length) for step in range(length))
                example = {"steps": steps}
                if self.builder_config.name == "plain":
                    metadata = {"sevens": -7 * episode, "name": f"{episode}"}
                    example["episode_metadata"] = metadata
                yield episode, example

    def _step(self, episode, step, length):
        frame = np.array([[[episode, step, 0]]], np.uint8)
        flags = {"is_first": step == 0, "is_last": step == length - 1}
        if self.builder_config.name == "plain":
            return {"observation": frame, "action": 1000 * episode + step, **flags}
        observation = {"image": frame, "instruction": "Count."}
        return {"observation": observation, "action": np.zeros(2, np.float32), **flags}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("numbered"))


@pytest.fixture
def open_clips(data_dir):
    """Function that opens the clips of a split."""

    def open_dataset(dataset="numbered_episodes/plain", split="train", **settings):
        clip_length = settings.pop("clip_length", CLIP_LENGTH)
        return ClipDataset(
            open_episodes(dataset, split, data_dir, **settings), clip_length
        )

    return open_dataset


@pytest.fixture
def batches(open_clips):
    """Function that opens batches of clips, closed after the test."""
    opened = []

    def open_batches(clips=None, batch_size=4, seed=0, **settings):
        iterator = (clips or open_clips()).batches(batch_size, seed, **settings)
        opened.append(iterator)
        return iterator

    yield open_batches
    for iterator in opened:
        iterator.close()


def noise(rng, clip):
    """Add random numbers to a clip."""
    return {"noise": rng.random(3)}


def take(batches, num_batches):
    """Return the next batches of an iterator as one."""
    taken = list(itertools.islice(batches, num_batches))
    return {key: np.concatenate([batch[key] for batch in taken]) for key in taken[0]}


def origins(video):
    """Return the (episode, first step) of each clip."""
    return [tuple(pixel) for pixel in video[:, 0, 0, 0, :2].tolist()]


def test_batches_have_documented_shapes_and_dtypes(batches):
    batch = next(batches(transforms=[noise]))
    assert {key: (value.dtype, value.shape) for key, value in batch.items()} == {
        "video": (np.uint8, (4, CLIP_LENGTH, 1, 1, 3)),
        "action": (np.int32, (4, CLIP_LENGTH - 1)),
        "noise": (np.float64, (4, 3)),
    }


def test_clip_holds_consecutive_frames_of_one_episode_and_their_actions(batches):
    batch = take(batches(), 50)
    episodes, steps = batch["video"][:, :, 0, 0, 0], batch["video"][:, :, 0, 0, 1]
    assert np.all(episodes == episodes[:, :1])
    assert np.all(np.diff(steps, axis=1) == 1)
    frames = 1000 * episodes.astype(int) + steps
    np.testing.assert_array_equal(batch["action"], frames[:, :-1])


def test_metadata_matches_episode_of_each_clip(batches, open_clips):
    batch = take(batches(open_clips(metadata="sevens", split="train[2:7]")), 20)
    assert batch["sevens"].dtype == np.int32
    episodes = batch["video"][:, 0, 0, 0, 0].astype(int)
    assert len(set(episodes)) > 2
    np.testing.assert_array_equal(batch["sevens"], -7 * episodes)


def test_epoch_tiles_every_episode_once(batches, open_clips):
    epoch_size = open_clips().num_clips
    assert epoch_size == sum(CLIPS_PER_EPISODE)
    first, second = (
        origins(batch["video"])
        for batch in itertools.islice(batches(batch_size=epoch_size), 2)
    )
    assert first != second  # different order and phases
    for clip_origins in (first, second):
        # Episodes are stored shuffled, but their pixels hold their numbers.
        starts = [
            sorted(s for e, s in clip_origins if e == n) for n in range(len(LENGTHS))
        ]
        assert [len(episode_starts) for episode_starts in starts] == CLIPS_PER_EPISODE
        for episode_starts in starts:
            assert set(np.diff(episode_starts)) <= {CLIP_LENGTH}


def test_phases_reach_every_step_of_an_episode(batches, open_clips):
    video = take(batches(batch_size=open_clips().num_clips), 60)["video"]
    for episode, length in enumerate(LENGTHS):
        steps = video[video[..., 0] == episode][..., 1]
        assert set(steps) == (set(range(length)) if length >= CLIP_LENGTH else set())


def test_start_step_equals_uninterrupted_run(batches):
    whole = batches(transforms=[noise])
    next(itertools.islice(whole, 24, 24), None)
    np.testing.assert_equal(
        take(batches(transforms=[noise], start_step=24), 8), take(whole, 8)
    )


def test_seed_determines_batches(batches):
    same, again, other = (
        take(batches(transforms=[noise], seed=seed), 4) for seed in (3, 3, 4)
    )
    np.testing.assert_equal(same, again)
    for key in same:
        assert np.any(same[key] != other[key])


def test_examples_do_not_depend_on_batch_size(batches):
    np.testing.assert_equal(
        take(batches(transforms=[noise], batch_size=6), 2),
        take(batches(transforms=[noise], batch_size=3), 4),
    )


def test_transforms_are_called_in_turn_for_each_clip(batches):
    def darken(rng, clip):
        assert clip["video"].shape == (CLIP_LENGTH, 1, 1, 3)
        return {"video": clip["video"] // 2, "brightness": clip["video"].sum()}

    def double(rng, clip):
        return {"brightness": 2 * clip["brightness"], "darkest": clip["video"].min()}

    plain = take(batches(), 3)
    changed = take(batches(transforms=[darken, double]), 3)
    brightness = plain["video"].sum(axis=(1, 2, 3, 4))
    np.testing.assert_array_equal(changed["video"], plain["video"] // 2)
    np.testing.assert_array_equal(changed["brightness"], 2 * brightness)
    darkest = changed["video"].min(axis=(1, 2, 3, 4))
    np.testing.assert_array_equal(changed["darkest"], darkest)
    np.testing.assert_array_equal(changed["action"], plain["action"])


def test_clips_are_shuffled_within_windows_of_episodes(batches, open_clips):
    epoch_size = open_clips().num_clips
    with mock.patch.object(clips, "_WINDOW", 2):
        batch = next(batches(batch_size=epoch_size))
    episodes = [episode for episode, _ in origins(batch["video"])]
    last_seen = {episode: position for position, episode in enumerate(episodes)}
    for position in range(epoch_size):
        unfinished = {
            episode
            for episode in episodes[: position + 1]
            if last_seen[episode] > position
        }
        assert len(unfinished) <= 2


def test_parts_of_a_split_are_disjoint(batches, open_clips):
    first, rest = (open_clips(split=split) for split in ("train[:3]", "train[3:]"))
    assert first.num_clips + rest.num_clips == open_clips().num_clips
    parts = [
        {episode for episode, _ in origins(take(batches(part), 20)["video"])}
        for part in (first, rest)
    ]
    assert not parts[0] & parts[1]


def test_image_in_observation_is_read_and_continuous_actions_are_ignored(
    batches, open_clips
):
    batch = take(batches(open_clips("numbered_episodes/robot")), 4)
    assert set(batch) == {"video"}
    np.testing.assert_array_equal(batch["video"], take(batches(), 4)["video"])


def test_short_episodes_are_reported_once(batches):
    with mock.patch.object(clips.logging, "warning") as warning:
        take(batches(), 20)
    messages = [call.args[0] % call.args[1:] for call in warning.call_args_list]
    assert [message for message in messages if "skipped" in message] == [
        "numbered_episodes/plain, split train: 2 of 8 episodes are shorter than 5 "
        "frames and are skipped."
    ]


def test_workers_share_each_batch(batches):
    settings = {"batch_size": 6, "transforms": [noise]}
    whole = batches(**settings)
    shares = [batches(**settings, shard=(index, 3)) for index in range(3)]
    for _ in range(3):
        parts = [next(share) for share in shares]
        for name, array in next(whole).items():
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, array)


def test_uneven_batch_is_rejected(batches):
    with pytest.raises(ValueError) as error:
        batches(batch_size=6, shard=(0, 4))
    assert str(error.value) == (
        "A batch must split evenly over 4 workers; received batch_size=6."
    )


def test_close_ends_threads(batches):
    iterator = batches()
    next(iterator)
    assert any(thread.name.startswith("clips") for thread in threading.enumerate())
    iterator.close()
    assert not any(thread.name.startswith("clips") for thread in threading.enumerate())


def test_only_frames_of_clips_are_decoded(batches):
    decompress = rlds_decoding.deflate.zlib_decompress
    with mock.patch.object(
        rlds_decoding.deflate, "zlib_decompress", side_effect=decompress
    ) as counted:
        iterator = batches(batch_size=1)
        next(iterator)
        iterator.close()
    # One frame on opening, the clip in use, and some clips ahead.
    num_clips, rest = divmod(counted.call_count - 1, CLIP_LENGTH)
    assert 1 <= num_clips <= 1 + clips._NUM_AHEAD and rest == 0


def test_coinrun_clip_equals_episode(batches, tmp_path):
    config = coinrun_dataset_builder.CoinRunConfig(
        name="tiny", description="One level.", levels={"train": [7]}, steps_per_level=20
    )
    builder = coinrun_dataset_builder.Builder(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
    (episode,) = builder.as_dataset(split="train")
    steps = next(episode["steps"].batch(20).as_numpy_iterator())

    episodes = open_episodes("coinrun/tiny", "train", tmp_path, metadata="theme")
    batch = next(batches(ClipDataset(episodes, 20), batch_size=1))
    assert batch["theme"].tolist() == [int(episode["episode_metadata"]["theme"])]
    np.testing.assert_array_equal(batch["video"][0], steps["observation"])
    np.testing.assert_array_equal(batch["action"][0], steps["action"][:-1])


def cut(file):
    return file[:-7]


def flip(file, position):
    return file[:position] + bytes([file[position] ^ 1]) + file[position + 1 :]


def flip_in_frame(file):
    return flip(file, file.index(b"x\x9c") + 3)  # In the first zlib stream.


# Byte 1 belongs to the size of the first record.
@pytest.mark.parametrize("damage", [cut, lambda x: flip(x, 1), flip_in_frame])
def test_damaged_file_is_named(batches, tmp_path, damage):
    builder = NumberedEpisodes(config="plain", data_dir=tmp_path)
    builder.download_and_prepare()
    (path,) = builder.data_path.glob("*.tfrecord-*")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{path} is damaged: delete its folder"):
        episodes = open_episodes("numbered_episodes/plain", "train", tmp_path)
        next(batches(ClipDataset(episodes, CLIP_LENGTH), sum(CLIPS_PER_EPISODE)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"dataset": "coinrn/random_hard"},
            "There is no dataset 'coinrn/random_hard': genie_tf has coinrun/random_hard, "
            "coinrun/random_hard_small, coinrun/held_hard_small, coinrun/mixed_hard, "
            "coinrun/genieredux, coinrun/genieredux_7, coinrun/demonstrations_easy, "
            "coinrun/demonstrations_easy_small, coinrun/demonstrations_hard, "
            "coinrun/demonstrations_hard_small, coinrun/agent, coinrun/agent_small, and "
            "procgen/GAME_random_hard for other games; tfds.list_builders() lists "
            "those of TFDS; a dataset folder holds dataset_info.json or arrays.json.",
        ),
        (
            {"dataset": "coinrun/easy"},
            "There is no dataset 'coinrun/easy': the configs of 'coinrun' are "
            "random_hard, random_hard_small, held_hard_small, mixed_hard, genieredux, "
            "genieredux_7, demonstrations_easy, demonstrations_easy_small, "
            "demonstrations_hard, demonstrations_hard_small, agent, agent_small.",
        ),
        (
            {"split": "valid"},
            "Dataset 'numbered_episodes/plain' has no split 'valid': its splits are "
            "train, or parts of them such as 'train[:10%]'.",
        ),
        (
            {"dataset": "numbered_episodes/numbers"},
            "Dataset 'numbered_episodes/numbers' does not hold RLDS episodes: expected "
            "a dataset of 'steps' with an 'observation' and 'is_first'; found number.",
        ),
        (
            {"clip_length": 41},
            "No episode of 'numbered_episodes/plain', split 'train', is long enough: "
            "requested clips of 41 frames; the longest episode has 40.",
        ),
        (
            {"metadata": "name"},
            "The episodes of dataset 'numbered_episodes/plain' have no integer 'name' in "
            "their metadata; available: sevens.",
        ),
        (
            {"dataset": "numbered_episodes/robot", "metadata": "theme"},
            "The episodes of dataset 'numbered_episodes/robot' have no integer 'theme' "
            "in their metadata; available: none.",
        ),
        ({"clip_length": 0}, "clip_length must be at least 1; received 0."),
        ({"batch_size": -1}, "batch_size must be at least 1; received -1."),
        ({"seed": -1}, "seed must be at least 0; received -1."),
        ({"start_step": -5}, "start_step must be at least 0; received -5."),
        (
            {"split": "train[:0]"},
            "No episode of 'numbered_episodes/plain', split 'train[:0]', is long enough: "
            "requested clips of 5 frames; the longest episode has 0.",
        ),
    ],
)
def test_errors_are_one_sentence(batches, open_clips, arguments, message):
    names = ("batch_size", "seed", "start_step")
    settings = {x: arguments[x] for x in names if x in arguments}
    with pytest.raises(ValueError) as error:
        if settings:
            batches(**settings)
        else:
            open_clips(**arguments)
    assert str(error.value) == message
