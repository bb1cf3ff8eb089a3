"""Tests of the CoinRun dataset: its episodes are what the game really shows."""

import json
import os
import pathlib
import subprocess
import sys
import threading
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from genie_tf.datasets.coinrun import coinrun_dataset_builder, rollouts

DATASET_FOLDER = pathlib.Path(rollouts.__file__).parent
NUM_STEPS = 120
# Within 120 random steps the agent dies in levels 6 and 22, and wins in level 132.
TINY = coinrun_dataset_builder.CoinRunConfig(
    name="tiny",
    description="A few levels, for tests.",
    levels={"train": [6, 7, 22, 132], "validation": [10_000], "test": [20_000, 20_001]},
    steps_per_level=NUM_STEPS,
)


def build(data_dir):
    builder = coinrun_dataset_builder.Builder(config=TINY, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def read(builder, split):
    """Returns (level seed, dictionary of stacked steps) of each episode, as stored."""
    return [
        (
            int(episode["episode_metadata"]["level_seed"]),
            next(episode["steps"].batch(NUM_STEPS).as_numpy_iterator()),
        )
        for episode in builder.as_dataset(split=split)
    ]


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("coinrun"))


@pytest.fixture(scope="module")
def levels(builder):
    """Episodes by split and level, in the order played."""
    levels = {}
    for split in TINY.levels:
        for level_seed, steps in read(builder, split):
            levels.setdefault((split, level_seed), []).append(steps)
    return levels


def test_each_split_plays_all_its_levels_for_all_their_steps(levels):
    assert {
        key: sum(len(steps["action"]) for steps in episodes)
        for key, episodes in levels.items()
    } == {
        (split, level_seed): NUM_STEPS
        for split, level_seeds in TINY.levels.items()
        for level_seed in level_seeds
    }


@pytest.mark.parametrize(
    "config", coinrun_dataset_builder.Builder.BUILDER_CONFIGS, ids=lambda c: c.name
)
def test_splits_share_no_level(config):
    level_seeds = [seed for seeds in config.levels.values() for seed in seeds]
    assert len(set(level_seeds)) == len(level_seeds)


def test_genieredux_has_as_many_episodes_as_published():
    config = coinrun_dataset_builder.Builder.builder_configs["genieredux"]
    sizes = {split: len(levels) for split, levels in config.levels.items()}
    assert sizes == {"train": 79_200, "validation": 8_800, "test": 1_000}
    assert config.one_episode


def test_one_episode_of_a_level_is_its_first():
    first, *others = rollouts.play_level(6, NUM_STEPS)
    assert others
    (alone,) = rollouts.play_level(6, NUM_STEPS, one_episode=True)
    np.testing.assert_equal(alone, first)
    (cut,) = rollouts.play_level(6, 10, one_episode=True)
    assert len(cut.actions) == 10
    assert not cut.is_terminal


def test_actions_are_held_for_as_long_as_asked_and_are_those_that_differ():
    single, held = (rollouts.draw_actions(3, 100_000, hold) for hold in (1, 8))
    for actions, choices in ((single, 15), (held, 9)):
        assert actions.dtype == np.int32
        shares = np.bincount(actions, minlength=choices) / len(actions)
        np.testing.assert_allclose(shares, 1 / choices, atol=0.02)
    # One of nine draws is the same again.
    changes = np.count_nonzero(np.diff(held))
    assert changes == pytest.approx(100_000 / 8 * 8 / 9, rel=0.05)


def test_held_actions_are_played_and_named(tmp_path):
    config = config_of_json({"train": [5]}, hold=6)
    builder = coinrun_dataset_builder.Builder(data_dir=tmp_path, config=config)
    builder.download_and_prepare()
    episodes = list(tfds.as_numpy(builder.as_dataset(split="train")))
    actions = [
        step["action"] for episode in episodes for step in list(episode["steps"])
    ]
    np.testing.assert_array_equal(actions, rollouts.draw_actions(5, 30, 6))
    assert {e["episode_metadata"]["policy"] for e in episodes} == {b"held_6"}


def config_of_json(levels, steps_per_level=30, hold=1):
    """As `tfds build` makes a config from JSON."""
    settings = {
        "name": "x",
        "levels": levels,
        "steps_per_level": steps_per_level,
        "hold": hold,
    }
    return coinrun_dataset_builder.Builder.builder_config_cls(
        **json.loads(json.dumps(settings))
    )


def test_levels_are_named_in_json():
    config = config_of_json({"train": "0:500", "test": [7_000, 7_002]})
    assert config.levels == {"train": range(500), "test": [7_000, 7_002]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (({"train": "500"},), "The levels of split 'train' must be the first and the "),
        (({"train": "5:5"},), "such as '0:500', received '5:5'."),
        (({"train": []},), "such as '0:500', received \\[\\]."),
        (({"train": "0:9", "test": "8:10"},), "A level is played twice in config 'x'"),
        (({"train": "0:9"}, 0), "steps_per_level must be at least 1, received 0."),
        (({"train": "0:9"}, 30, 0), "hold must be at least 1, received 0."),
    ],
)
def test_wrong_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of_json(*settings)


def test_no_config_trains_on_levels_another_evaluates_on():
    train, held_out = set(), set()
    for config in coinrun_dataset_builder.Builder.BUILDER_CONFIGS:
        for split, levels in config.levels.items():
            (train if split == "train" else held_out).update(levels)
    assert not train & held_out


def test_flags_mark_the_ends_of_episodes(levels):
    for episodes in levels.values():
        for steps in episodes:
            ends = [False] * (len(steps["action"]) - 1)
            assert steps["is_first"].tolist() == [True, *ends]
            assert steps["is_last"].tolist() == [*ends, True]
            assert not steps["is_terminal"][:-1].any()
            assert not steps["reward"][:-1].any()
            np.testing.assert_array_equal(steps["discount"], 1 - steps["is_terminal"])
        # Played until the game ended it, all but the last, which the budget ended.
        assert [bool(steps["is_terminal"][-1]) for steps in episodes] == (
            [True] * (len(episodes) - 1) + [False]
        )


def test_only_the_coin_is_rewarded(levels):
    assert levels["train", 6][0]["reward"][-1] == 0
    assert levels["train", 132][0]["reward"][-1] == 10


def test_replaying_the_actions_in_the_game_gives_the_stored_episodes(levels):
    for (_, level_seed), episodes in levels.items():
        environment = rollouts.make_environment(level_seed)
        _, seen, is_first = environment.observe()
        assert environment.get_info()[0]["level_seed"] == level_seed
        for steps in episodes:
            assert is_first[0]
            for step, action in enumerate(steps["action"]):
                np.testing.assert_array_equal(
                    steps["observation"][step], seen["rgb"][0]
                )
                environment.act(action[np.newaxis])
                reward, seen, is_first = environment.observe()
                assert steps["reward"][step] == reward[0]
                assert steps["is_terminal"][step] == is_first[0]


def test_stored_themes_are_those_of_the_game_throughout(builder):
    for split in TINY.levels:
        for episode in builder.as_dataset(split=split):
            metadata = episode["episode_metadata"]
            environment = rollouts.make_environment(int(metadata["level_seed"]))
            for action in range(NUM_STEPS):
                assert rollouts.read_theme(environment) == int(metadata["theme"])
                environment.act(np.array([action % 15], np.int32))


def test_levels_of_one_theme_stand_on_the_same_ground():
    """At the start all levels look alike below the agent, but for the theme."""
    grounds = {}
    for level_seed in range(40):
        (episode,) = rollouts.play_level(level_seed, 1)
        ground = episode.pixels()[0, 50:].tobytes()
        grounds.setdefault(episode.theme, set()).add(ground)
    assert sorted(grounds) == list(range(rollouts.NUM_THEMES))
    assert all(len(pictures) == 1 for pictures in grounds.values())
    assert len(set.union(*grounds.values())) == rollouts.NUM_THEMES


@pytest.mark.parametrize("theme", [6, -1, 1_045_220_557])
def test_a_state_without_a_theme(theme):
    environment = mock.Mock()
    state = np.array([3, theme, 0, 1, 0, 0, 0, 0], "<i4").tobytes()
    environment.callmethod.return_value = [state]
    with pytest.raises(ValueError, match=f"in 0..5, 28 bytes before .* {theme}: use"):
        rollouts.read_theme(environment)


def test_an_episode_that_times_out_is_not_terminal():
    waiting = np.full(rollouts.TIMEOUT + 1, 4, np.int32)
    with mock.patch.object(rollouts, "draw_actions", return_value=waiting):
        first, second = rollouts.play_level(0, rollouts.TIMEOUT + 1)
    assert len(first.actions) == rollouts.TIMEOUT
    assert not first.is_terminal
    # The level starts again as it did before.
    assert second.frames == first.frames[:1]


def test_actions_are_uniform_and_differ_between_levels():
    one, other = (
        np.concatenate([episode.actions for episode in rollouts.play_level(seed, 600)])
        for seed in (1, 2)
    )
    assert np.any(one != other)
    counts = np.bincount(np.concatenate([one, other]), minlength=15)
    assert len(counts) == 15
    assert 50 < counts.min() < 80 < counts.max() < 110


def test_any_number_of_workers_plays_the_same_episodes_in_order():
    level_seeds = [22, 3, 6, 4, 5, 1]
    one, two = (
        list(rollouts.play_levels(level_seeds, NUM_STEPS, num_workers=num_workers))
        for num_workers in (1, 2)
    )
    assert [episodes[0].level_seed for episodes in one] == level_seeds
    np.testing.assert_equal(one, two)
    here = [rollouts.play_level(level_seed, NUM_STEPS) for level_seed in level_seeds]
    np.testing.assert_equal(one, here)


@pytest.fixture
def processes(monkeypatch):
    """The processes that play, as they are started."""
    started = []

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    yield started
    assert started
    assert all(process.poll() is not None for process in started)


def test_players_are_kept_for_the_next_levels_and_end_at_last(processes):
    with rollouts.Players() as players:
        for level_seed in (1, 2):
            list(players.play([level_seed], 10))
        next(players.play([3, 4], 10))
        assert len(processes) == 1


def test_a_worker_keeps_its_process(processes):
    assert len(list(rollouts.play_levels([1, 2, 3], 10, num_workers=1))) == 3
    assert len(processes) == 1


def test_a_player_that_cannot_play(processes, monkeypatch):
    monkeypatch.setattr(rollouts, "__file__", "/none")
    with rollouts.Players() as players:
        with pytest.raises(ChildProcessError, match="ended with code 2: it has said"):
            list(players.play([1], 10))


def test_a_player_that_is_killed(processes):
    with rollouts.Players() as players:
        played = players.play([1, 2, 3, 4], 10)
        next(played)
        processes[0].kill()
        with pytest.raises(
            ChildProcessError, match="ended with code -9: memory may be"
        ):
            list(played)


def test_players_are_ended_in_the_middle_of_a_level(processes):
    with rollouts.Players() as players:
        played = players.play([1], 10**6)  # For minutes.
        threading.Timer(1, players.end).start()
        with pytest.raises(ChildProcessError, match="ended with code -9"):
            next(played)
        with pytest.raises(ChildProcessError, match="ended with code -9"):
            next(players.play([2], 10))


def test_keys_that_stop_a_build_do_not_reach_players(processes):
    with rollouts.Players() as players:
        list(players.play([1], 10))
        assert os.getsid(processes[0].pid) != os.getsid(0)


def test_two_builds_give_the_same_examples_in_the_same_order(builder, tmp_path):
    with mock.patch.dict(os.environ, COINRUN_WORKERS="1"):
        again = build(tmp_path)
    for split in TINY.levels:
        np.testing.assert_equal(read(again, split), read(builder, split))
    for path in builder.data_path.glob("*.tfrecord*"):
        assert (again.data_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("workers", ["0", "two", "-1", ""])
def test_a_wrong_number_of_workers(tmp_path, monkeypatch, workers):
    monkeypatch.setenv("COINRUN_WORKERS", workers)
    with pytest.raises(ValueError, match=f"a number from 1 on, received '{workers}'"):
        build(tmp_path)


def test_stock_tfds_reads_the_files(builder):
    folder = builder.data_path
    assert "genie_tf" not in (folder / "features.json").read_text()
    np.testing.assert_equal(
        read(tfds.builder_from_directory(folder), "test"), read(builder, "test")
    )


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )


def test_gym_is_imported_only_to_play_and_does_not_scold():
    outcome = run_python(
        "import sys, genie_tf.datasets\n"
        "assert 'gym' not in sys.modules\n"
        "from genie_tf.datasets.coinrun import rollouts\n"
        "rollouts.make_environment(0)\n"
        "assert 'gym' in sys.modules\n"
    )
    assert "Gym" not in outcome.stdout + outcome.stderr


def test_folder_is_importable_as_tfds_build_does():
    outcome = run_python(
        "import tensorflow_datasets as tfds\n"
        f"with tfds.core.utils.add_sys_path({os.fspath(DATASET_FOLDER.parent)!r}):\n"
        "    builder = tfds.core.community.builder_cls_from_module(\n"
        "        'coinrun.coinrun_dataset_builder')\n"
        "print(builder.name, *builder.builder_configs)\n"
    )
    assert outcome.stdout.split() == [
        "coinrun",
        "random_hard",
        "random_hard_small",
        "held_hard_small",
        "genieredux",
    ]
