"""Schedules equal values calculated manually, and steps equal NumPy's."""

import numpy as np
import pytest

from genie_tf.testing.tiny_models import tiny_genie, tiny_tokenizer
from genie_tf.training.optimizers import (
    WarmupDecay,
    clip_by_global_norm,
    make_optimizer,
)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def genie():
    return tiny_genie()


def values(variables):
    return [np.array(variable) for variable in variables]


def random_gradients(variables, seed=0):
    """Return gradients away from 0, where the position of epsilon would matter."""
    rng = np.random.default_rng(seed)
    normal = [rng.normal(size=v.shape).astype("float32") for v in variables]
    return [x + np.copysign(np.float32(0.1), x) for x in normal]


def adam_step(value, gradients, rate, decay, beta_1=0.9, beta_2=0.99):
    """Return a value after AdamW's step with the last gradient (Loshchilov 2019)."""
    m = v = 0.0
    for gradient in gradients:
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
    t = len(gradients)
    m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
    return value - rate * (m_hat / (np.sqrt(v_hat) + 1e-7) + decay * value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Constant after warm-up.
        ({"warmup_steps": 4}, {0: 0.5, 1: 1.0, 3: 2.0, 4: 2.0, 10: 2.0}),
        ({"warmup_steps": 0}, {0: 2.0, 9: 2.0}),
        # Cosine: at 3/4, 1/2 and 1/4 of the way down.
        (
            {"warmup_steps": 2, "decay_steps": 8, "shape": "cosine"},
            {0: 1.0, 1: 2.0, 2: 2.0, 4: 1.7071068, 6: 1.0, 8: 0.2928932, 10: 0.0},
        ),
        # From half the peak.
        ({"warmup_steps": 4, "warmup_from": 0.5}, {0: 1.25, 1: 1.5, 3: 2.0, 4: 2.0}),
        # Warm-up, stable, decay.
        (
            {"warmup_steps": 2, "decay_steps": 4, "final": 0.4},
            {0: 1.0, 2: 2.0, 6: 2.0, 7: 1.6, 8: 1.2, 9: 0.8, 10: 0.4, 11: 0.4},
        ),
    ],
)
def test_schedule(arguments, expected):
    schedule = WarmupDecay(peak=2.0, steps=10, **arguments)
    again = WarmupDecay.from_config(schedule.get_config())
    for rate in (schedule, again):
        rates = {step: float(rate(step)) for step in expected}
        assert rates == pytest.approx(expected, abs=1e-6)


def test_unknown_shape_is_rejected():
    with pytest.raises(ValueError, match='must be "linear" or "cosine"; .*="square"'):
        WarmupDecay(1.0, 10, 1, shape="square")


def test_unknown_optimizer_is_rejected(tokenizer):
    with pytest.raises(ValueError, match='must be "adamw" or "muon"; received "sgd"'):
        make_optimizer(tokenizer, WarmupDecay(1.0, 10, 0), name="sgd")


def test_ema_must_be_below_1(tokenizer):
    with pytest.raises(ValueError, match=r"`ema` must be in \[0, 1\); received 1.5"):
        make_optimizer(tokenizer, WarmupDecay(1.0, 10, 0), ema=1.5)


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weight_decay_applies_to_kernels_or_to_all(tokenizer, name, decay_all):
    variables = tokenizer.trainable_variables
    optimizer = make_optimizer(
        tokenizer,
        WarmupDecay(0.5, 10, 0),
        name=name,
        weight_decay=0.2,
        decay_all=decay_all,
    )
    before = values(variables)
    optimizer.apply([np.zeros_like(x) for x in before])
    for variable, old in zip(variables, before, strict=True):
        factor = 1 - 0.5 * 0.2 if decay_all or variable.name == "kernel" else 1
        np.testing.assert_allclose(variable, factor * old, rtol=1e-6)
    assert {"kernel", "bias", "gamma", "codebook"} <= {v.name for v in variables}


def test_adamw_matches_numpy(tokenizer):
    variables = tokenizer.trainable_variables
    schedule = WarmupDecay(0.02, 10, warmup_steps=2)
    optimizer = make_optimizer(tokenizer, schedule, beta_2=0.99, weight_decay=0.1)
    expected = values(variables)
    first, second = (random_gradients(variables, seed) for seed in (1, 2))
    for gradients, rate in (([first], 0.01), ([first, second], 0.02)):
        optimizer.apply(gradients[-1])
        expected = [
            adam_step(old, g, rate, 0.1 if variable.name == "kernel" else 0)
            for variable, old, *g in zip(variables, expected, *gradients, strict=True)
        ]
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-6)


def test_muon_orthogonalizes_kernels_and_uses_adamw_elsewhere(tokenizer):
    variables = tokenizer.trainable_variables
    optimizer = make_optimizer(
        tokenizer, WarmupDecay(0.02, 10, 0), name="muon", beta_2=0.99, weight_decay=0.0
    )
    before, gradients = values(variables), random_gradients(variables)
    optimizer.apply(gradients)
    for variable, old, gradient in zip(variables, before, gradients, strict=True):
        if variable.name == "kernel":
            # Steps have the size of Adam's, a root mean square of 0.2.
            scale = 0.02 * 0.2 * np.sqrt(max(old.shape))
            change = (old - np.array(variable)) / scale
            u, sizes, v = np.linalg.svd(gradient, full_matrices=False)
            product = u.T @ change @ v.T
            # Five iterations bring all but the smallest singular values near 1.
            large = np.diag(product)[sizes > 0.1 * sizes.max()]
            assert 0.6 < large.min() <= large.max() < 1.2
            np.testing.assert_allclose(product, np.diag(np.diag(product)), atol=1e-3)
        else:
            expected = adam_step(old, [gradient], 0.02, decay=0)
            np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_frozen_parts_have_no_moments(genie, name):
    optimizer = make_optimizer(genie, WarmupDecay(1.0, 10, 0), name=name)
    parts = genie.latent_action_model, genie.dynamics
    trained = [v for part in parts for v in part.trainable_variables]
    # AdamW has two moments of each variable, Muon one of each kernel.
    moments = trained + [v for v in trained if name == "adamw" or v.name != "kernel"]
    assert sorted(
        tuple(v.shape) for v in optimizer.variables if len(v.shape)
    ) == sorted(tuple(v.shape) for v in moments)


@pytest.mark.parametrize(("limit", "factor"), [(2.6, 0.2), (13.0, 1), (20, 1)])
def test_gradients_are_clipped_together(limit, factor):
    gradients = [np.float32([[3, 0], [0, -4]]), np.float32([12, 0, 0])]
    clipped, norm = clip_by_global_norm(gradients, limit)
    assert float(norm) == pytest.approx(13)
    for scaled, gradient in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(scaled, factor * gradient, rtol=1e-6)


def test_clipping_handles_no_limit_and_zero_gradients():
    gradients = [np.float32([3, 4])]
    assert clip_by_global_norm(gradients, None)[0] is gradients
    clipped, norm = clip_by_global_norm([np.zeros(2, "float32")], 1.0)
    assert float(norm) == 0 and np.array(clipped[0]).tolist() == [0, 0]
