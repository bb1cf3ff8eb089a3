import math

import numpy as np
import pytest

from genie_tf.samplers import cosine_schedule, num_left_masked


def reference_counts(num_tokens, num_steps):
    """Compute the tokens masked after each step as in the MaskGIT paper, in Python."""
    now, counts = num_tokens, []
    for step in range(num_steps):
        share = math.cos(math.pi / 2 * (step + 1) / num_steps)
        # Whole numbers (such as 64 cos(60 degrees)) can be rounded down slightly.
        now = max(1, min(now - 1, math.floor(num_tokens * share + 1e-4)))
        counts.append(now)
    return counts


def run_schedule(num_tokens, num_steps):
    now, counts = num_tokens, []
    for step in range(num_steps):
        now = int(num_left_masked(step, num_steps, num_tokens, np.int32(now)))
        counts.append(now)
    return counts


def test_schedule_falls_from_1_to_0():
    assert float(cosine_schedule(0.0)) == 1
    assert float(cosine_schedule(1.0)) == pytest.approx(0, abs=1e-6)
    assert float(cosine_schedule(2 / 3)) == pytest.approx(0.5)
    shares = [float(cosine_schedule(i / 20)) for i in range(21)]
    assert all(a > b for a, b in zip(shares, shares[1:]))


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 64, 256])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8, 25])
def test_counts_equal_those_of_paper(num_tokens, num_steps):
    expected = reference_counts(num_tokens, num_steps)
    received = run_schedule(num_tokens, num_steps)
    whole = [
        abs(n - round(n)) < 1e-3
        for n in (
            num_tokens * math.cos(math.pi / 2 * (step + 1) / num_steps)
            for step in range(num_steps)
        )
    ]
    if any(whole[:-1]):
        assert np.abs(np.subtract(received, expected)).max() <= 1
    else:
        assert received == expected


def test_counts_equal_known_values():
    # 16 cos(pi/8), cos(pi/4), cos(3 pi/8): 14.8, 11.3, 6.1. Masks after the last step
    # are not used.
    assert run_schedule(16, 4) == [14, 11, 6, 1]
    assert run_schedule(64, 8) == [62, 59, 53, 45, 35, 24, 12, 1]


def test_counts_with_more_steps_than_tokens():
    # One token per step, until one is left.
    assert run_schedule(4, 25) == [3, 2, 1] + [1] * 22


def test_each_step_decides_a_token_until_one_is_left():
    counts = [256, *run_schedule(256, 100)]
    assert all(a > b or a == 1 for a, b in zip(counts, counts[1:]))


def test_frames_of_a_batch_are_counted_separately():
    now = np.array([[2], [9], [16]], "int32")
    left = num_left_masked(1, 4, 16, now)
    np.testing.assert_array_equal(left, [[1], [8], [11]])
