import subprocess
import sys

import numpy as np
from keras import ops
from scipy import stats

from genie_tf.noise import draw_categorical, fold, gumbel, uniform


def keys(seed, batch=1):
    return ops.convert_to_tensor(np.arange(batch) + seed, "uint32")


def draws(key, *shape):
    return ops.convert_to_numpy(uniform(key, *shape))


def test_draws_are_uniform():
    for seed in range(5):
        values = draws(keys(seed), 50_000)
        assert 0 < values.min() < 1e-3 and 1 - 1e-3 < values.max() < 1
        assert stats.kstest(values[0], "uniform").pvalue > 1e-3
        # Consecutive draws are independent.
        pairs, *_ = np.histogram2d(values[0, ::2], values[0, 1::2], bins=10)
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


def test_gumbel_noise_matches_scipy():
    noise = ops.convert_to_numpy(gumbel(keys(0), 50_000))
    assert stats.kstest(noise[0], "gumbel_r").pvalue > 1e-3


def test_draws_follow_softmax():
    logits = np.tile(np.log(np.array([1, 2, 5], "float32")), (1, 50_000, 1))
    for temperature, shares in ((1.0, [1, 2, 5]), (0.5, [1, 4, 25])):
        counts = np.bincount(
            ops.convert_to_numpy(draw_categorical(logits, keys(3), temperature))[0]
        )
        expected = np.array(shares) / sum(shares) * 50_000
        assert stats.chisquare(counts, expected).pvalue > 1e-3
    assert np.all(ops.convert_to_numpy(draw_categorical(logits, keys(3), 0.0)) == 2)


def test_folded_keys_are_independent():
    key = keys(3)
    folded = [fold(key, 0), fold(key, 1), fold(keys(4), 0), fold(fold(key, 0), 0)]
    streams = [draws(x, 4000)[0] for x in folded]
    correlations = np.corrcoef(streams)[~np.eye(4, dtype=bool)]
    assert np.abs(correlations).max() < 0.07  # 4 sigma.


def test_neighboring_keys_and_numbers_give_uniform_first_draws():
    # Like sessions with seeds 0, 1, 2, ..., at frames 0, 1, 2, ...
    by_seed = draws(fold(keys(0, 20_000), 7), 1)[:, 0]
    by_frame = draws(fold(keys(0), np.arange(20_000)), 1)
    for values in (by_seed, by_frame.ravel()):
        assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_each_row_depends_only_on_its_key():
    both = draws(keys(5, 2), 3, 4)
    assert both.shape == (2, 3, 4)
    np.testing.assert_array_equal(both[1:], draws(keys(6), 3, 4))


def test_all_backends_draw_equal_numbers():
    program = (
        "import numpy as np; from keras import ops;"
        "from genie_tf.noise import fold, uniform;"
        "key = ops.convert_to_tensor(np.arange(3), 'uint32');"
        "print(ops.convert_to_numpy(uniform(fold(key, 5), 4)).tolist())"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"KERAS_BACKEND": backend, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for backend in ("tensorflow", "jax", "numpy")
    ]
    assert len(set(outputs)) == 1
