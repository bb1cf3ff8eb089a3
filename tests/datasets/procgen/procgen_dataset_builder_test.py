import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.episodes import open_episodes
from genie_tf.datasets.procgen.environment import GAMES
from genie_tf.datasets.procgen.levels import Settings, play_levels
from genie_tf.datasets.procgen.policies import HeldPolicy, PolicyError
from genie_tf.datasets.procgen.procgen_dataset_builder import Builder, ProcgenConfig

NINJA = ProcgenConfig(
    name="ninja",
    description="A few levels of ninja.",
    game="ninja",
    mode="easy",
    policy="held",
    policy_arguments={"hold": 6},
    levels={"train": [1, 2, 3], "test": [20_000]},
    steps_per_level=40,
    levels_at_once=2,
)


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    """Standard TFDS checks."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [NINJA]
    SPLITS = {"train": 3, "test": 2}
    # Nothing is downloaded, so there are no dummy files, but TFDS requires a folder.
    EXAMPLE_DIR = os.fspath(Builder.pkg_dir_path)


def make_config(**changes):
    """Return a config made from JSON, as by `tfds build`."""
    settings = {
        "name": "x",
        "game": "ninja",
        "levels": {"train": "0:500"},
        "steps_per_level": 30,
        **changes,
    }
    return Builder.builder_config_cls(**json.loads(json.dumps(settings)))


def test_game_is_built_and_read(tmp_path):
    builder = Builder(config=NINJA, data_dir=tmp_path)
    builder.download_and_prepare()
    policy = HeldPolicy("ninja", 6)
    settings = Settings("ninja", "easy", 40)
    played = play_levels(settings, [1, 2, 3], policy)

    stored = list(tfds.load("procgen/ninja", split="train", data_dir=tmp_path))
    episodes = open_episodes("procgen/ninja", "train", tmp_path)
    expected = [episode for level in played for episode in level]
    assert len(stored) == len(episodes.lengths) == len(expected)
    for number, episode in enumerate(expected):
        frames, actions = episodes.read_episode(number)
        np.testing.assert_array_equal(frames, episode.pixels())
        np.testing.assert_array_equal(actions, episode.actions)
        metadata = stored[number]["episode_metadata"]
        assert metadata["policy"].numpy() == b"held_6"
        assert int(metadata["level_seed"]) == episode.level_seed
        assert "theme" not in metadata
    assert episodes.actions == GAMES["ninja"].actions

    batches = ClipDataset(episodes, 8).batches(batch_size=4, seed=0)
    assert next(batches)["video"].shape == (4, 8, 64, 64, 3)
    batches.close()


def test_dataset_folder_stores_actions(tmp_path):
    builder = Builder(config=NINJA, data_dir=tmp_path)
    builder.download_and_prepare()
    folder = pathlib.Path(builder.data_path)
    assert "genie_tf" not in (folder / "features.json").read_text()
    episodes = open_episodes(str(folder), "train")
    assert episodes.actions == GAMES["ninja"].actions


def test_all_games_have_named_configs():
    names = Builder.builder_configs
    for game in GAMES:
        for name in ("random_hard", "random_easy_small", "held_hard_small"):
            config = names[f"{game}_{name}"]
            assert (config.game, config.mode) == (game, name.split("_")[1])
    assert names["maze_random_memory"].settings == Settings("maze", "memory", 1_000)
    assert "ninja_random_memory" not in names


def test_train_levels_are_disjoint_from_other_splits():
    train, held_out = set(), set()
    for config in Builder.BUILDER_CONFIGS[:8]:
        for split, levels in config.levels.items():
            (train if split == "train" else held_out).update(levels)
    assert not train & held_out


def test_levels_are_parsed_from_json():
    config = make_config(levels={"train": "0:500", "test": [7_000, 7_002]})
    assert config.levels == {"train": range(500), "test": [7_000, 7_002]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"levels": {"train": "500"}},
            "The levels of split 'train' must be a list or FIRST:END, such as '0:500'; "
            "received '500'.",
        ),
        ({"levels": {"train": "5:5"}}, "such as '0:500'; received '5:5'."),
        ({"levels": {"train": []}}, r"such as '0:500'; received \[\]."),
        (
            {"levels": {"train": "0:9", "test": "8:10"}},
            "A level is played twice in config 'x'.",
        ),
        (
            {"levels": {"train": "0:9", "test": [9, 3]}},
            "A level is played twice in config 'x'.",
        ),
        ({"levels": {"train": [3, 3]}}, "A level is played twice in config 'x'."),
        ({"steps_per_level": 0}, "steps_per_level must be at least 1; received 0."),
        ({"levels_at_once": 0}, "levels_at_once must be at least 1; received 0."),
        (
            {"policy": "held", "policy_arguments": {"hold": 0}},
            "hold must be at least 1",
        ),
        (
            {"policy_arguments": {"num_actions": 0}},
            "num_actions must be at least 1; received 0.",
        ),
        (
            {"actions": ("left", "jump")},
            "The actions must be different ones of left.down, left, .*, E; received left, "
            "jump.",
        ),
        ({"actions": ("up", "up")}, "must be different ones of .*; received up, up."),
        ({"policy": "best"}, "There is no policy 'best': expected random, held, scr"),
        (
            {"policy": "scripted"},
            "'scripted' cannot be created: it plays only coinrun; received 'ninja'.",
        ),
        (
            {"solved": "always"},
            "solved must be ignored, stored or required; received 'always'.",
        ),
        (
            {"game": "pong"},
            "Procgen has no game 'pong'; available: bigfish, bossfight, ",
        ),
        (
            {"mode": "memory"},
            "Procgen's ninja has no mode 'memory'; available: easy, hard.",
        ),
    ],
)
def test_invalid_configs_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nnja_random_hard",
            "Procgen has no game 'nnja'; available: bigfish, .*, starpilot.",
        ),
        (
            "ninja_random_memory",
            "Procgen's ninja has no mode 'memory'; available: easy, ha",
        ),
        (
            "maze_best_hard",
            "its configs are GAME_POLICY_MODE and GAME_POLICY_MODE_small, such as "
            "maze_random_hard_small; policies are random, held, and modes of maze are easy, "
            "hard, memory.",
        ),
        (
            "maze",
            "its configs are GAME_POLICY_MODE and GAME_POLICY_MODE_small, such as",
        ),
    ],
)
def test_unknown_config_is_rejected(tmp_path, name, message):
    with pytest.raises(
        ValueError, match=f"^There is no dataset 'procgen/{name}': {message}"
    ):
        open_episodes(f"procgen/{name}", "train", str(tmp_path))
    with pytest.raises(
        ValueError, match=f"There is no dataset 'procgen/{name}': {message}"
    ):
        tfds.load(f"procgen/{name}", data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_invalid_policy_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from genie_tf.datasets.procgen.policies import Policy\n"
        "class Wrong(Policy):\n"
        "    name = 'wrong'\n"
        "    def __init__(self, game): pass\n"
        "    def act(self, frames, rngs): return [0, 1]\n"
    )
    config = make_config(policy="mine:Wrong", levels={"train": "0:3"})
    builder = Builder(config=config, data_dir=tmp_path / "data")
    with pytest.raises(PolicyError) as error:
        builder.download_and_prepare()
    assert str(error.value) == (
        "Policy 'wrong' must return integers (1,) from 0 to 14, one action per "
        "level; received int64 (2,)."
    )
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    # TFDS first writes the list of custom configs.
    assert [path.parent.name for path in left] == [".config"]
