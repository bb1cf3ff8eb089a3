"""Prompts of several frames, and the actions that a world needs between them."""

import numpy as np
import pytest
from PIL import Image

from genie_tf.media.prompts import Prompt, check_prompt_actions, load_prompt

FRAMES = np.zeros((3, 8, 8, 3), "uint8")


def test_frames_come_in_the_order_of_their_files(tmp_path):
    names = []
    for gray in (10, 20, 30):
        names.append(tmp_path / f"{gray}.png")
        Image.new("L", (20, 10), gray).save(names[-1])
    prompt = load_prompt(names, 8, 12, actions=[1, 0])
    assert prompt.frames.shape == (3, 8, 12, 3)
    assert prompt.frames[:, 4, 6, 0].tolist() == [10, 20, 30]
    assert prompt.actions == [1, 0]


@pytest.mark.parametrize(
    ("prompt", "infers_actions"),
    [
        (Prompt(FRAMES), True),
        (Prompt(FRAMES[:1]), False),
        (Prompt(FRAMES, [0, 4]), False),
        (Prompt(FRAMES, [0, 4]), True),
    ],
)
def test_right_actions_are_accepted(prompt, infers_actions):
    check_prompt_actions(prompt, infers_actions, 5)


@pytest.mark.parametrize(
    ("actions", "received"),
    [
        (None, ", which a guided world cannot infer; received none."),
        ([1], "; received 1."),
        ([1, 2, 3], "; received 3."),
        ([1, 5], " from 0 to 4; received 5."),
        ([-1, 0], " from 0 to 4; received -1."),
    ],
)
def test_wrong_actions_are_refused(actions, received):
    with pytest.raises(ValueError) as error:
        check_prompt_actions(Prompt(FRAMES, actions), False, 5)
    between = "Expected 2 prompt actions, between 3 prompt frames"
    assert str(error.value) == between + received
