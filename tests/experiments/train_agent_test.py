"""End-to-end runs of genie-train-agent, and invalid input that it rejects."""

import json
import os

import numpy as np
import pytest

from genie_tf.agents import ImpalaAgent
from genie_tf.presets.folder import read_config

FLAGS = {
    "config": "coinrun_agent:tiny",
    "workdir": "agent",
    "config.games.num_games": 4,
    "config.rollouts.length": 8,
    "config.rollouts.epochs": 1,
    "config.rollouts.minibatches": 2,
    "config.frames": 96,
    "config.validation_levels": 2,
    # Its random episodes are short, all about 80 steps.
    "config.model.game": "starpilot",
    "config.model.shrink": 16,
    "config.checkpoint_every": 2,
    "config.model.channels": "(2,)",
}


@pytest.fixture(scope="module")
def train(run_app):
    def run(folder, **changes):
        flags = {**FLAGS, **{k.replace("__", "."): v for k, v in changes.items()}}
        arguments = [f"--{k}={v}" for k, v in flags.items() if v is not None]
        return run_app("train_agent", *arguments, folder=folder)

    return run


def read_records(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records]


def test_run_writes_agent_and_resumes_exactly(train, tmp_path):
    ended = train(tmp_path)
    assert ended.code == 0, ended.errors
    assert "frames per second; " in ended.out
    whole = tmp_path / "agent"
    records = read_records(whole)
    assert [record["step"] for record in records] == [2, 4, 6]
    assert records[-1].keys() >= {"episode_return", "validation/solved", "entropy"}
    about = read_config(whole / "model")
    assert about["description"] == (
        "ImpalaAgent trained by PPO on 96 frames of starpilot, easy levels."
    )
    assert about["scores"]["return"] == records[-1]["validation/return"]
    assert about["action_names"][7] == "right"
    assert about["settings"]["frames"] == 96
    assert about["command"].startswith("genie-train-agent --config=coinrun_agent:tiny")

    for frames in (32, 96):
        ended = train(tmp_path, workdir="parts", config__frames=frames)
        assert ended.code == 0, ended.errors
    resumed = read_records(tmp_path / "parts")
    # Step 2 was evaluated because its run ended there.
    assert resumed[1:] == records[1:]
    agents = [
        ImpalaAgent.from_preset(tmp_path / x / "model") for x in ("agent", "parts")
    ]
    for ours, theirs in zip(*(agent.get_weights() for agent in agents), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    ended = train(tmp_path, config__games__num_games=8)
    ended.check_refused(
        "train_agent",
        "The 6 steps in agent were trained with other settings: config.games.num_games "
        "was 4, is 8. Use the earlier settings, .*",
    )


# Changed flags, and a pattern of the error.
WRONG = [
    ({"workdir": None}, "expected --workdir; see --help"),
    (
        {"config__frames": 31},
        "config.frames must be 32 or more, those of a rollout; is 31.",
    ),
    (
        {"config__checkpoint_every": 3},
        "config.checkpoint_every must be a multiple of 2, the steps of a rollout; is 3.",
    ),
    (
        {"config__steps_per_call": 4},
        "config.log_every must be a multiple of config.steps_per_call=4; is 2.",
    ),
    (
        {
            f"config__{name}": 4
            for name in ("steps_per_call", "log_every", "evaluate_every")
        }
        | {"config__checkpoint_every": 4},
        "config.steps_per_call must divide 2, the steps of a rollout; is 4.",
    ),
    (
        {"config__rollouts__minibatches": 5},
        "config.checkpoint_every must be a multiple of 5, the steps of a rollout; is 2.",
    ),
    (
        {"config__rollouts__minibatches": 5, "config__checkpoint_every": 5},
        "A rollout of 4 games x 8 steps must divide into minibatches of one size; "
        "received 5 minibatches.",
    ),
    (
        {"config__rollouts__discount": 1.5},
        "config.rollouts.discount must be a finite number from 0 to 1; is 1.5.",
    ),
    (
        {"config__model__game": "pong"},
        "Procgen has no game 'pong'; available: bigfish, .*",
    ),
    (
        {"config__games__mode": "memory"},
        "Procgen's starpilot has no mode 'memory'; available: easy, hard, extreme.",
    ),
    (
        {"config__model__frame_shape": "(32, 32, 3)"},
        r"Procgen has frames of \(64, 64, 3\); the agent expects \(32, 32, 3\).",
    ),
    (
        {"config__model__shrink": 3},
        "`shrink` must divide the sides of a frame, 64 and 64; received 3.",
    ),
    (
        {"config__model__class_name": "VideoTokenizer"},
        "Expected a ImpalaAgent; received VideoTokenizer.",
    ),
    (
        {"config__start_from": "none"},
        "There is no preset none: expected a folder, or .*",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(train, tmp_path, changes, sentence):
    train(tmp_path, **changes).check_refused("train_agent", sentence)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("program", "arguments", "sentence"),
    [
        (
            "train",
            ["--workdir=agent"],
            "config.stage is agent: train it with genie-train-agent.",
        ),
        (
            "plan",
            [],
            "genie-plan plans stages that learn from clips; config.stage is agent.",
        ),
    ],
)
def test_other_programs_refuse_configs_of_agents(
    run_app, tmp_path, program, arguments, sentence
):
    config = "--config=coinrun_agent:tiny"
    ended = run_app(program, config, *arguments, folder=tmp_path)
    ended.check_refused(program, sentence)
    assert not os.listdir(tmp_path)


def test_configs_of_other_stages_are_refused(run_app, tmp_path):
    ended = run_app(
        "train_agent",
        "--config=coinrun_tokenizer:tiny",
        "--workdir=tokenizer",
        folder=tmp_path,
    )
    ended.check_refused(
        "train_agent",
        "config.stage must be agent; is 'tokenizer': train other stages with "
        "genie-train.",
    )
    assert not os.listdir(tmp_path)
