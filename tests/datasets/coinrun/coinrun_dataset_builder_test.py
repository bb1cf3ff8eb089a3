"""CoinRun episodes match the game, and their files stay the same."""

import hashlib
import os
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets.coinrun.coinrun_dataset_builder import Builder, CoinRunConfig
from genie_tf.datasets.procgen.environment import make_environment, read_theme
from genie_tf.datasets.procgen.levels import play_levels
from genie_tf.datasets.procgen.scripted_policy import ScriptedPolicy

NUM_STEPS = 120
# Within 120 random steps the agent dies in levels 6 and 22, and wins in level 132.
TINY = CoinRunConfig(
    name="tiny",
    description="A few levels, for tests.",
    levels={"train": [6, 7, 22, 132], "validation": [10_000], "test": [20_000, 20_001]},
    steps_per_level=NUM_STEPS,
)


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    """Standard TFDS checks."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [
        CoinRunConfig(
            name="tiny",
            description="A few levels, for tests.",
            levels={"train": range(3), "validation": range(10_000, 10_001)},
            steps_per_level=20,
        ),
    ]
    SPLITS = {"train": 3, "validation": 1}
    # Nothing is downloaded, so there are no dummy files, but TFDS requires a folder.
    EXAMPLE_DIR = os.fspath(Builder.pkg_dir_path)


def build(data_dir, config=TINY):
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def read(builder, split):
    """Return (level seed, dictionary of stacked steps) of each episode, as stored."""
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


def checksum(builder):
    """Return a checksum of all records."""
    paths = sorted(builder.data_path.glob("*.tfrecord*"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "0c950ca0ef4e2c887dbc6e3c5c4623d41e67234f3ff2ced81ee1c9caa1c27b55"),
        (
            {"policy": "held"},
            "fb28cd69d4fa5271141be2ecdb1f2f0f841027fe3b8b5a13a658e958c7df5636",
        ),
        (
            {"one_episode": True},
            "c22d84715a6c2ec6dbe043ea7a8bcd47ed56f2bf2f9fbd9dd3b3763fc400709a",
        ),
    ],
)
def test_records_equal_those_of_version_2_1_0(tmp_path, changes, expected):
    config = CoinRunConfig(
        name="fixed",
        levels={"train": [6, 22, 132], "test": "9:11"},
        steps_per_level=130,
        **changes,
    )
    assert str(Builder.VERSION) == "2.1.0"
    assert checksum(build(tmp_path, config)) == expected


def test_configs_equal_those_of_version_2_1_0():
    configs = {
        name: (
            [len(config.levels[split]) for split in ("train", "validation", "test")],
            config.steps_per_level,
            config.one_episode,
            config.policy,
        )
        for name, config in Builder.builder_configs.items()
    }
    assert configs == {
        "random_hard": ([10_000, 100, 1_000], 1_000, False, "random"),
        "random_hard_small": ([200, 16, 32], 500, False, "random"),
        "held_hard_small": ([200, 16, 32], 500, False, "held"),
        "mixed_hard": ([3_000, 16, 32], 100, False, "held"),
        # As many episodes as GenieRedux published.
        "genieredux": ([79_200, 8_800, 1_000], 500, True, "random"),
        "genieredux_7": ([79_200, 8_800, 1_000], 500, True, "random"),
        "demonstrations_easy": ([10_000, 100, 1_000], 500, True, "scripted"),
        "demonstrations_easy_small": ([200, 16, 32], 500, True, "scripted"),
        "demonstrations_hard": ([10_000, 100, 1_000], 500, True, "scripted"),
        "demonstrations_hard_small": ([200, 16, 32], 500, True, "scripted"),
        "agent": ([9_000, 1_000, 1_000], 500, True, "agent"),
        "agent_small": ([200, 16, 32], 500, True, "agent"),
    }


def test_train_levels_are_disjoint_from_other_splits():
    train, held_out = set(), set()
    for config in Builder.BUILDER_CONFIGS:
        for split, levels in config.levels.items():
            (train if split == "train" else held_out).update(levels)
    assert not train & held_out


def test_each_level_is_played_for_all_its_steps(levels):
    assert {
        key: sum(len(steps["action"]) for steps in episodes)
        for key, episodes in levels.items()
    } == {
        (split, level_seed): NUM_STEPS
        for split, level_seeds in TINY.levels.items()
        for level_seed in level_seeds
    }


def test_flags_mark_ends_of_episodes(levels):
    for episodes in levels.values():
        for steps in episodes:
            ends = [False] * (len(steps["action"]) - 1)
            assert steps["is_first"].tolist() == [True, *ends]
            assert steps["is_last"].tolist() == [*ends, True]
            assert not steps["is_terminal"][:-1].any()
            assert not steps["reward"][:-1].any()
            np.testing.assert_array_equal(steps["discount"], 1 - steps["is_terminal"])
        # The game ended all episodes but the last, which ran out of steps.
        assert [bool(steps["is_terminal"][-1]) for steps in episodes] == (
            [True] * (len(episodes) - 1) + [False]
        )


def test_only_coin_is_rewarded(levels):
    assert levels["train", 6][0]["reward"][-1] == 0
    assert levels["train", 132][0]["reward"][-1] == 10


def test_stored_theme_matches_game_at_every_step(builder):
    for split in TINY.levels:
        for episode in builder.as_dataset(split=split):
            metadata = episode["episode_metadata"]
            level_seed = int(metadata["level_seed"])
            environment = make_environment("coinrun", "hard", level_seed)
            for action in range(NUM_STEPS):
                assert read_theme(environment) == int(metadata["theme"])
                environment.act(np.array([action % 15], np.int32))


def test_actions_have_names(builder):
    action = builder.info.features["steps"]["action"]
    assert action.names[7] == "right"
    assert action.names[4] == "none"


def test_only_solved_episodes_are_stored_if_required(tmp_path):
    config = CoinRunConfig(
        name="solved",
        mode="easy",
        levels={"train": range(4), "test": range(9, 10)},
        steps_per_level=300,
        one_episode=True,
        policy="scripted",
        policy_arguments={"attempts": 2},
        solved="required",
    )
    built = build(tmp_path, config)
    policy = ScriptedPolicy("coinrun", 2)
    levels = play_levels(config.settings, range(4), policy)
    expected = [level[0].level_seed for level in levels if level]
    assert 0 < len(expected) < 4
    metadata = [x["episode_metadata"] for x in built.as_dataset(split="train")]
    assert [int(x["level_seed"]) for x in metadata] == expected
    assert {int(x["solved"]) for x in metadata} == {1}
    assert {x["policy"].numpy() for x in metadata} == {b"scripted_2"}
    # No attempt at this level succeeds.
    assert built.info.splits["test"].num_examples == 0


def test_files_do_not_depend_on_number_of_workers(builder, tmp_path):
    with mock.patch.dict(os.environ, COINRUN_WORKERS="1"):
        assert checksum(build(tmp_path)) == checksum(builder)


def test_invalid_number_of_workers_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv("COINRUN_WORKERS", "two")
    with pytest.raises(
        ValueError, match="COINRUN_WORKERS must be a number of 1 or more"
    ):
        build(tmp_path)


def test_stock_tfds_reads_the_files(builder):
    folder = builder.data_path
    assert "genie_tf" not in (folder / "features.json").read_text()
    np.testing.assert_equal(
        read(tfds.builder_from_directory(folder), "test"), read(builder, "test")
    )


def test_tfds_build_imports_dataset_folders():
    datasets = pathlib.Path(Builder.pkg_dir_path).parent
    for name in ("coinrun", "procgen"):
        code = (
            "import tensorflow_datasets as tfds\n"
            f"with tfds.core.utils.add_sys_path({os.fspath(datasets)!r}):\n"
            "    builder = tfds.core.community.builder_cls_from_module(\n"
            f"        '{name}.{name}_dataset_builder')\n"
            "print(builder.name, *builder.builder_configs)\n"
        )
        command = [sys.executable, "-c", code]
        outcome = subprocess.run(command, capture_output=True, text=True, check=True)
        configs = outcome.stdout.split()
        assert configs[0] == name
        assert ("random_hard" in configs) == (name == "coinrun")
        assert ("ninja_random_hard_small" in configs) == (name == "procgen")
