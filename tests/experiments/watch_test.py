"""End-to-end runs of genie-watch, and invalid input that it rejects."""

import os

import pytest
from PIL import Image


def test_video_shows_the_game_with_actions(run_app, tmp_path):
    arguments = ["--agent=right+jump", "--level=20000", "--output=out/agent.gif"]
    ended = run_app("watch", *arguments, folder=tmp_path)
    assert ended.code == 0, ended.errors
    with Image.open(tmp_path / "out/agent.gif") as gif:
        assert gif.size == (256, 276)
        assert ended.out.startswith(f"Wrote out/agent.gif: {gif.n_frames} frames, ")


# Changed flags, and a pattern of the error.
WRONG = [
    (
        {"agent": "none"},
        "There is no player 'none': expected uniform, right.jump, or .*",
    ),
    ({"game": "pong"}, "Procgen has no game 'pong'; available: .*"),
    ({"mode": "none"}, "Procgen's coinrun has no mode 'none'; available: easy, hard."),
    ({"level": -1}, "flag --level=-1: .*"),
    (
        {"output": "agent.txt"},
        "A video's file name must end in .*; received agent.txt.",
    ),
    ({"fps": 0}, "flag --fps=0: .*"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    run_app, tmp_path, changes, sentence
):
    flags = {"agent": "right+jump", "output": "agent.gif", **changes}
    arguments = [f"--{k}={v}" for k, v in flags.items()]
    run_app("watch", *arguments, folder=tmp_path).check_refused("watch", sentence)
    assert not os.listdir(tmp_path)
