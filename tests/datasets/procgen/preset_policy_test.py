import os
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.agents import ImpalaAgent
from genie_tf.datasets.coinrun.coinrun_dataset_builder import Builder, CoinRunConfig
from genie_tf.datasets.procgen.agent_policy import AgentPolicy
from genie_tf.datasets.procgen.environment import ACTION_NAMES
from genie_tf.datasets.procgen.levels import Settings, play_levels
from genie_tf.datasets.procgen.policies import PolicyError, make_policy
from genie_tf.datasets.procgen.preset_policy import (
    PresetPolicy,
    find_agent,
    preset_digest,
)
from genie_tf.presets.loading import load_preset
from genie_tf.testing.tiny_models import tiny_tokenizer

SETTINGS = Settings("coinrun", "easy", 20, one_episode=True, levels_at_once=2)


def save_agent(folder, action_names=ACTION_NAMES, **arguments):
    """Save a small agent, and return the folder's name."""
    agent = ImpalaAgent("coinrun", action_names, channels=(2,), dim=4, **arguments)
    agent.save_to_preset(folder, "An untrained agent.")
    return os.fspath(folder)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return save_agent(tmp_path_factory.mktemp("agents") / "agent")


def test_agent_plays(preset):
    policy = make_policy("agent", "coinrun", {"preset": preset})
    together = play_levels(SETTINGS, [6, 7], policy)
    for level_seed, (episode,) in zip((6, 7), together, strict=True):
        assert episode.policy == f"agent_{preset_digest(preset)[:16]}"
        # The agent draws the same actions for the stored frames.
        rngs = [np.random.default_rng((level_seed, 0))]
        agent = load_preset(preset)
        is_first = np.zeros(1, bool)
        actions = [agent.act(x[None], is_first, rngs)[0] for x in episode.pixels()]
        np.testing.assert_array_equal(episode.actions, actions)


def test_agent_is_told_which_frames_start_an_episode():
    class Recorder(ImpalaAgent):
        def act(self, frames, is_first, rngs):
            told.append(is_first.tolist())
            return [ACTION_NAMES.index("right+up")] * len(frames)

    told = []
    policy = AgentPolicy(Recorder("coinrun", ACTION_NAMES, channels=(2,), dim=4))
    settings = SETTINGS._replace(steps_per_level=100, one_episode=False)
    levels = play_levels(settings, [6, 7], policy)
    for level, episodes in enumerate(levels):
        starts = np.cumsum([0, *(len(x.actions) for x in episodes[:-1])])
        assert np.flatnonzero([x[level] for x in told]).tolist() == starts.tolist()


def test_preset_digest_is_that_of_settings_and_weights(preset, tmp_path):
    shutil.copytree(preset, tmp_path / "same")
    config = tmp_path / "same" / "config.json"
    config.write_text(config.read_text().replace("untrained", "unused"))
    assert preset_digest(tmp_path / "same") == preset_digest(preset)
    assert preset_digest(save_agent(tmp_path / "other")) != preset_digest(preset)


def test_environment_variable_names_the_agent(preset, monkeypatch):
    monkeypatch.setenv("COINRUN_AGENT", preset)
    settings = SETTINGS._replace(policy="agent")
    found = {"preset": preset, "digest": preset_digest(preset)}
    expected = settings._replace(policy_arguments=found)
    assert find_agent("coinrun", settings) == expected
    given = {"preset": preset, "digest": "1234"}
    settings = settings._replace(policy_arguments=given)
    assert find_agent("procgen", settings) == settings
    assert find_agent("procgen", SETTINGS) == SETTINGS


def test_missing_agent_is_rejected(monkeypatch, tmp_path):
    monkeypatch.delenv("COINRUN_AGENT", raising=False)
    settings = SETTINGS._replace(policy="agent")
    with pytest.raises(ValueError) as error:
        find_agent("coinrun", settings)
    assert str(error.value) == (
        "A trained agent plays this dataset: set the environment variable COINRUN_AGENT "
        "to its preset."
    )
    monkeypatch.setenv("COINRUN_AGENT", os.fspath(tmp_path / "none"))
    with pytest.raises(
        ValueError, match="There is no preset .*none: expected a folder"
    ):
        find_agent("coinrun", settings)


@pytest.mark.parametrize(
    ("game", "changes", "message"),
    [
        ("ninja", {}, "expected the game ninja; it was trained with coinrun."),
        (
            "coinrun",
            {"actions": ("left", "right")},
            "expected the actions left, right; it was trained with left+down, left, ",
        ),
        (
            "coinrun",
            {"paint_velocity": True},
            "expected the paint_velocity True; it was trained with False.",
        ),
    ],
)
def test_agent_of_other_data_is_rejected(preset, game, changes, message):
    settings = SETTINGS._replace(game=game, **changes)
    with pytest.raises(PolicyError) as error:
        play_levels(settings, [1], PresetPolicy(game, preset))
    start = f"The agent {preset} cannot play this dataset: "
    assert str(error.value).startswith(start + message)


def test_changed_agent_is_rejected(preset):
    policy = PresetPolicy("coinrun", preset, digest="1234")
    with pytest.raises(PolicyError) as error:
        play_levels(SETTINGS, [1], policy)
    assert str(error.value) == (
        f"The agent {preset} has changed: expected the digest 1234; received "
        f"{preset_digest(preset)}."
    )


def build(data_dir):
    config = CoinRunConfig(
        name="tiny_agent",
        mode="easy",
        levels={"train": range(3)},
        steps_per_level=10,
        one_episode=True,
        policy="agent",
        levels_at_once=2,
        solved="stored",
    )
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def test_dataset_keeps_the_digest_of_its_agent(preset, monkeypatch, tmp_path):
    monkeypatch.setenv("COINRUN_AGENT", preset)
    monkeypatch.setenv("COINRUN_WORKERS", "1")
    builder = tfds.builder_from_directory(build(tmp_path).data_path)
    digest = preset_digest(preset)
    assert builder.info.metadata["agent"] == digest
    episodes = list(builder.as_dataset(split="train"))
    assert len(episodes) == 3
    for episode in episodes:
        metadata = episode["episode_metadata"]
        assert metadata["policy"].numpy().decode() == f"agent_{digest[:16]}"
        assert int(metadata["solved"]) == 0


def test_dataset_without_agent_leaves_no_files(monkeypatch, tmp_path):
    monkeypatch.delenv("COINRUN_AGENT", raising=False)
    with pytest.raises(ValueError, match="set the environment variable COINRUN_AGENT"):
        build(tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    # TFDS first writes the list of custom configs.
    assert [path.parent.name for path in left] == [".config"]


def test_preset_of_another_model_is_rejected(tmp_path):
    tiny_tokenizer().save_to_preset(tmp_path / "tokenizer", "A tokenizer.")
    policy = PresetPolicy("coinrun", os.fspath(tmp_path / "tokenizer"))
    with pytest.raises(
        PolicyError, match="to hold a .*Agent.*; it holds a VideoTokeni"
    ):
        play_levels(SETTINGS, [1], policy)
