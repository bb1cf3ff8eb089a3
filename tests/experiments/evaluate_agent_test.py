"""End-to-end runs of genie-evaluate-agent, and invalid input that it rejects."""

import json
import os

import pytest

from genie_tf.agents import ImpalaAgent
from genie_tf.datasets.procgen.environment import ACTION_NAMES
from genie_tf.testing.tiny_models import tiny_tokenizer


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Folder of presets: an agent that jumps to the right, and a tokenizer."""
    folder = tmp_path_factory.mktemp("presets")
    agent = ImpalaAgent("coinrun", ACTION_NAMES, shrink=16, channels=(2,), dim=4)
    bias = agent.policy.bias
    bias.assign([100.0 * (name == "right+up") for name in ACTION_NAMES])
    agent.save_to_preset(folder / "agent", "Jumps to the right.")
    tiny_tokenizer().save_to_preset(folder / "tokenizer", "A tokenizer.")
    return folder


@pytest.fixture(scope="module")
def evaluate(run_app):
    def run(folder, **changes):
        flags = {"levels": 3, "seeds": 2, "modes": "easy", "output": "report"}
        arguments = [f"--{k}={v}" for k, v in {**flags, **changes}.items()]
        return run_app("evaluate_agent", *arguments, folder=folder)

    return run


def test_players_are_compared_on_the_same_levels(evaluate, presets, tmp_path):
    agent = presets / "agent"
    ended = evaluate(tmp_path, players=f"right+jump,{agent}")
    assert ended.code == 0, ended.errors
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["levels"] == [20_000, 20_003]
    assert report["presets"].keys() == {str(agent)}
    scripted, learned = report["results"]["easy"].values()
    assert scripted == learned
    assert scripted["solved_percent"]["low"] <= scripted["solved_percent"]["mean"]
    assert len(scripted["solved_percent_by_seed"]) == 2
    card = (tmp_path / "report/report.md").read_text()
    assert f"| easy | {agent} | {scripted['solved_percent']['mean']:.1f} (" in card

    evaluate(tmp_path, players="right+jump").check_refused(
        "evaluate_agent",
        "report already holds a report: choose another folder, or pass --overwrite.",
    )


# Changed flags, and a pattern of the error.
WRONG = [
    (
        {"players": "unifrom"},
        "There is no player 'unifrom': expected uniform, right.jump, or the folder of an "
        "agent.",
    ),
    (
        {"players": "TOKENIZER"},
        "Expected .*tokenizer to hold an agent; its config.json describes a "
        "VideoTokenizer.",
    ),
    (
        {"players": "AGENT", "game": "ninja"},
        "The agent .*agent plays coinrun, not ninja.",
    ),
    ({"players": "uniform,uniform"}, "--players names a player twice."),
    ({"players": "uniform", "game": "pong"}, "Procgen has no game 'pong'; .*"),
    (
        {"players": "uniform", "modes": "medium"},
        "Procgen's coinrun has no mode 'medium'; available: easy, hard.",
    ),
    (
        {"players": "uniform", "first_level": 2**31 - 3},
        "The last level has the number 2147483646; --first_level=2147483645 and "
        "--levels=3 ask for more.",
    ),
    ({"players": "uniform", "levels": 1}, "flag --levels=1: .*"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    evaluate, presets, tmp_path, changes, sentence
):
    folders = {"AGENT": presets / "agent", "TOKENIZER": presets / "tokenizer"}
    changes["players"] = folders.get(changes["players"], changes["players"])
    evaluate(tmp_path, **changes).check_refused("evaluate_agent", sentence)
    assert not os.listdir(tmp_path)
