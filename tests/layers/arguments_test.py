"""Checks of arguments accept or reject values of any type, in one sentence."""

import re

import numpy as np
import pytest

from genie_tf.layers import CausalTemporalAttention, STTransformer, VectorQuantizer
from genie_tf.layers.arguments import check_frame_shape, check_whole

SIZES = {"dim": 8, "num_blocks": 1, "num_heads": 2}


def test_numpy_numbers_are_accepted():
    check_whole(a=np.int64(3), b=3, c=0 + np.uint8(1))
    check_frame_shape([np.int32(16), 16, 3])
    assert STTransformer(**SIZES, window=np.int64(4)).window == 4


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: STTransformer(**{**SIZES, "dim": 8.0}),
            "`dim` must be a whole number from 1 to 2147483647; received 8.0.",
        ),
        (
            lambda: STTransformer(**{**SIZES, "num_blocks": -1}),
            "`num_blocks` must be a whole number from 0 to 2147483647; received -1.",
        ),
        (
            lambda: STTransformer(**SIZES, head_dim=0),
            "`head_dim` must be a whole number from 1 to 2147483647; received 0.",
        ),
        (
            lambda: STTransformer(**SIZES, qk_norm="yes"),
            "`qk_norm` must be one of False, True, unit; received 'yes'.",
        ),
        (
            lambda: CausalTemporalAttention(num_heads=2, head_dim=3),
            "`head_dim` must be even for attention over time, because "
            "positions rotate pairs of features; received 3.",
        ),
        (
            lambda: VectorQuantizer(8, 4, ema=float("nan")),
            "`ema` must be a number, 0 or more; received nan.",
        ),
        (
            lambda: check_frame_shape((16, 16)),
            "`frame_shape` must be (height, width, channels); received (16, 16).",
        ),
    ],
)
def test_invalid_arguments_are_rejected(make, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make()
