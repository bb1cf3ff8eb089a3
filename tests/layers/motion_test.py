import itertools

import numpy as np
import pytest
from keras import ops

from genie_tf.layers.motion import (
    find_shift,
    moves,
    num_shifts,
    shift_errors,
    shift_frames,
    still,
)

REACH = (3, 2)


def all_moves(reach):
    down, right = (range(-most, most + 1) for most in reach)
    return list(itertools.product(down, right))


def expected_move(frame, dy, dx):
    height, width, _ = frame.shape
    moved, seen = np.empty_like(frame), np.zeros((height, width, 1), "float32")
    for y, x in itertools.product(range(height), range(width)):
        from_y, from_x = y - dy, x - dx
        seen[y, x] = 0 <= from_y < height and 0 <= from_x < width
        moved[y, x] = frame[
            min(max(from_y, 0), height - 1), min(max(from_x, 0), width - 1)
        ]
    return moved, seen


@pytest.fixture
def frames():
    return np.random.default_rng(0).random((2, 8, 12, 3), "float32")


def test_shifts_number_moves_in_row_major_order():
    assert num_shifts(REACH) == len(all_moves(REACH)) == 35
    dy, dx = moves(np.arange(35), REACH)
    assert list(zip(np.array(dy), np.array(dx), strict=True)) == all_moves(REACH)
    assert [int(x) for x in moves(still(REACH), REACH)] == [0, 0]


@pytest.mark.parametrize("move", [*all_moves((1, 2)), (-7, 11), (20, -20)])
def test_frames_move_pixel_for_pixel(frames, move):
    dy, dx = (np.array([x, 0]) for x in move)
    moved, seen = shift_frames(frames, dy, dx)
    expected, known = expected_move(frames[0], *move)
    np.testing.assert_array_equal(moved[0], expected)
    np.testing.assert_array_equal(seen[0], known)
    np.testing.assert_array_equal(moved[1], frames[1])
    assert np.all(np.array(seen[1]) == 1)


def test_shift_errors_match_each_shift_and_block(frames):
    previous, frame = frames, frames[::-1].copy()
    errors = np.array(shift_errors(previous, frame, REACH, 4))
    assert errors.shape == (2, 35, 2, 3)
    for b, (s, move) in itertools.product(range(2), enumerate(all_moves(REACH))):
        moved, _ = expected_move(previous[b], *move)
        blocks = ((moved - frame[b]) ** 2).reshape(2, 4, 3, 4, 3).sum((1, 3, 4))
        np.testing.assert_allclose(errors[b, s], blocks, rtol=1e-5)


@pytest.mark.parametrize("move", all_moves(REACH)[::3])
def test_shift_is_found_next_to_a_patch_that_stays(frames, move):
    moved = expected_move(frames[0], *move)[0]
    moved[4:8, 4:8] = frames[0, 4:8, 4:8]
    errors = shift_errors(frames[:1], moved[None], REACH, 4)
    shift = find_shift(errors, REACH, 1.0)
    assert tuple(int(x[0]) for x in moves(shift, REACH)) == move


def test_plain_picture_stands_still():
    plain = ops.ones((1, 8, 8, 3))
    shift = find_shift(shift_errors(plain, plain, REACH, 4), REACH, 1.0)
    assert int(shift[0]) == still(REACH)
