import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.models import CausalDynamics
from genie_tf.testing.layer_test import run_layer_test

# Axes: b batch, t time, n patches, k codes, a action dim.
B, T, N, K, A = 2, 6, 4, 10, 6
TRANSFORMER = {
    "dim": 16,
    "num_blocks": 1,
    "num_heads": 2,
    "window": 3,
    "attention": "space_time",
}
TOKENS = np.random.default_rng(0).integers(K, size=(B, T, N)).astype("int32")
ACTIONS = np.random.default_rng(1).normal(size=(B, T - 1, A)).astype("float32")


@pytest.fixture(scope="module")
def dynamics():
    keras.utils.set_random_seed(0)
    dynamics = CausalDynamics(K, N, A, TRANSFORMER)
    for layer in (dynamics.table, dynamics.patch_position):
        shape = layer.embeddings.shape
        layer.embeddings.assign(np.random.default_rng(2).normal(size=shape))
    return dynamics


def changed_positions(dynamics, tokens=TOKENS, actions=ACTIONS):
    """Return the flat positions in the first video whose logits change."""
    before, after = (
        ops.convert_to_numpy(dynamics(*inputs, {}))[0].reshape(T * N, K)
        for inputs in ((TOKENS, ACTIONS), (tokens, actions))
    )
    return np.flatnonzero(np.abs(after - before).max(axis=-1) > 1e-5).tolist()


def test_model():
    arguments = {
        "num_codes": K,
        "num_patches": N,
        "action_dim": A,
        "transformer": {**TRANSFORMER, "num_blocks": 0},
    }
    inputs = [TOKENS, ACTIONS, {}]
    run_layer_test(CausalDynamics, arguments, inputs, mixed_output_dtype="float32")


@pytest.mark.parametrize(("t", "n"), [(0, 0), (1, 2), (2, 3), (5, 0)])
def test_token_affects_all_later_tokens_within_window(dynamics, t, n):
    tokens = TOKENS.copy()
    tokens[0, t, n] = (tokens[0, t, n] + 1) % K
    position = t * N + n
    last = min(position + TRANSFORMER["window"] * N, T * N - 1)
    assert changed_positions(dynamics, tokens) == list(range(position + 1, last + 1))


def test_action_affects_frames_from_the_one_it_leads_to(dynamics):
    actions = ACTIONS.copy()
    actions[0, 1] += 1
    last = 3 * N - 1 + TRANSFORMER["window"] * N - 1
    assert changed_positions(dynamics, actions=actions) == list(range(2 * N, last + 1))


def test_all_frames_except_first_are_scored(dynamics):
    scored = ops.convert_to_numpy(dynamics.scored(TOKENS, {}))
    assert not scored[:, 0].any() and scored[:, 1:].all()


def sample(dynamics, known, temperature, seed=0):
    """Sample all frames after the known ones, one by one over a cache."""
    settings = dynamics.sampling_tensors({"temperature": temperature})
    cache = dynamics.start(TOKENS[:, 0])
    frames = [TOKENS[:, 0]]
    for t in range(1, T):
        position, action = np.full(B, t, "int32"), ACTIONS[:, t - 1]
        if t < known:
            frame = TOKENS[:, t]
            cache = dynamics.add_frame(frame, action, cache, position)
        else:
            key = ops.convert_to_tensor(np.arange(B) + B * t + 100 * seed, "uint32")
            frame, cache = dynamics.sample_frame(
                action, cache, position, key, settings, (2, 2)
            )
        frames.append(ops.convert_to_numpy(frame))
    return np.stack(frames, axis=1)


@pytest.mark.parametrize("known", [1, 4])
def test_cached_sampling_at_temperature_0_picks_likeliest_of_call(dynamics, known):
    """Also beyond the window, and after known frames."""
    tokens = sample(dynamics, known, temperature=0.0)
    np.testing.assert_array_equal(tokens[:, :known], TOKENS[:, :known])
    likeliest = ops.convert_to_numpy(dynamics(tokens, ACTIONS, {})).argmax(axis=-1)
    np.testing.assert_array_equal(tokens[:, known:], likeliest[:, known:])


def test_draws_depend_on_key_and_temperature(dynamics):
    draws = [sample(dynamics, 1, 1.0, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    nearly_likeliest = sample(dynamics, 1, 1e-6)
    np.testing.assert_array_equal(nearly_likeliest, sample(dynamics, 1, 0.0))


def test_other_attention_is_rejected():
    with pytest.raises(ValueError) as error:
        CausalDynamics(K, N, A, {**TRANSFORMER, "attention": "st"})
    assert str(error.value) == (
        'The transformer of a CausalDynamics must have `attention` "space_time"; received '
        "'st'."
    )


def test_unknown_setting_is_rejected(dynamics):
    with pytest.raises(ValueError) as error:
        dynamics.complete_sampling({"num_steps": 4})
    assert str(error.value) == (
        "A CausalDynamics has no setting 'num_steps': it has temperature, top_k."
    )
