"""Actions are written below the frames they belong to."""

import numpy as np
import pytest

from genie_tf.media.action_strip import add_action_strip

NAMES = ("left", "right", "jump")


def test_strip_shows_present_action_in_the_middle():
    video = np.random.default_rng(0).integers(256, size=(6, 64, 64, 3), dtype=np.uint8)
    shown = add_action_strip(video, [0, 0, 1, 0, 0, 2], NAMES)
    assert shown.shape == (6, 4 * 64 + 20, 4 * 64, 3)
    np.testing.assert_array_equal(shown[:, :256:4, ::4], video)
    strips = shown[:, 256:]
    middle = strips[:, :, 103:153]
    # Frames with the same action have the same text.
    np.testing.assert_array_equal(middle[0], middle[3])
    assert not np.array_equal(middle[2], middle[3])
    # Before the first and after the last action there is none.
    assert (strips[0, :, :102] == 255).all() and (strips[-1, :, 154:] == 255).all()
    # Two frames later, an action is two cells to the left.
    assert (strips[4, :, :51] < 255).any()


def test_wrong_number_of_actions_is_rejected():
    video = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError) as error:
        add_action_strip(video, [0], NAMES)
    assert str(error.value) == (
        "An action strip needs one action per frame; received 1 for 2 frames."
    )
