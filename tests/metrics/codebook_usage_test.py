import math

import numpy as np
import pytest

from genie_tf.metrics.codebook_usage import (
    codebook_usage,
    perplexity_from_counts,
    usage_from_counts,
)


@pytest.mark.parametrize("num_codes", [2, 6, 1024])
def test_perplexity_of_uniform_use_is_num_codes(num_codes):
    tokens = np.tile(np.arange(num_codes), 3).reshape(3, num_codes)
    assert codebook_usage(tokens, num_codes) == {
        "codes_used": num_codes,
        "usage": 1.0,
        "perplexity": pytest.approx(num_codes, rel=1e-5),
        "entropy": pytest.approx(1, abs=1e-6),
    }


def test_usage_of_single_code():
    assert codebook_usage(np.full((2, 5), 3), 8) == {
        "codes_used": 1,
        "usage": 1 / 8,
        "perplexity": 1.0,
        "entropy": 0.0,
    }


def test_usage_of_shares_of_one_half_and_two_quarters():
    # Entropy is 1.5 bits, of at most 2 for four codes.
    usage = codebook_usage([0, 0, 1, 3], 4)
    assert usage["codes_used"] == 3
    assert usage["usage"] == 0.75
    assert usage["perplexity"] == pytest.approx(2**1.5)
    assert usage["entropy"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("counts", "codes_used", "perplexity"),
    [
        ([1, 1, 1, 1, 0], 4, 4.0),
        ([0, 0, 0, 4, 0], 1, 1.0),
        ([2, 1, 0, 0, 1], 3, 2**1.5),
    ],
)
def test_usage_from_counts(counts, codes_used, perplexity):
    usage = usage_from_counts(np.array(counts))
    assert float(usage["codes_used"]) == codes_used
    assert float(usage["perplexity"]) == pytest.approx(perplexity, rel=1e-5)
    assert float(usage["usage"]) == pytest.approx(codes_used / len(counts))
    entropy = np.log(perplexity) / np.log(len(counts))
    assert float(usage["entropy"]) == pytest.approx(entropy, abs=1e-5)


def test_perplexity_of_several_codebooks():
    counts = np.array([[5, 5, 0, 0], [7, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(perplexity_from_counts(counts), [2, 1, 4, 1], rtol=1e-6)


def test_perplexity_depends_only_on_shares():
    counts = np.random.default_rng(0).random(100).astype("float32")
    np.testing.assert_allclose(
        perplexity_from_counts(counts), perplexity_from_counts(1e6 * counts), rtol=1e-5
    )
    share = counts.astype("float64") / counts.sum(dtype="float64")
    expected = math.exp(-np.sum(share * np.log(share)))
    np.testing.assert_allclose(perplexity_from_counts(counts), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "num_codes", "message"),
    [
        ([0, 4], 4, r"in \[0, num_codes=4\); received values from 0 to 4"),
        ([-1, 2], 4, r"in \[0, num_codes=4\); received values from -1 to 2"),
        ([0.5], 4, r"must be integers.* shape \(1,\), dtype float64"),
        (np.zeros((0, 3), int), 4, r"at least one; received shape \(0, 3\)"),
        ([0], 1, "`num_codes` must be at least 2; received 1"),
    ],
)
def test_bad_input_is_rejected(tokens, num_codes, message):
    with pytest.raises(ValueError, match=message):
        codebook_usage(tokens, num_codes)
