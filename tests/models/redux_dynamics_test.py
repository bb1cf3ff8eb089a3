import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.models import ReduxDynamics
from genie_tf.testing.layer_test import run_layer_test

# Axes: b batch, t time, n patches, k codes, a action dim.
B, T, N, K, A = 2, 5, 4, 10, 6
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2}
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(K, size=(B, T, N)).astype("int32")
ACTIONS = RNG.normal(size=(B, T - 1, A)).astype("float32")
MASK = RNG.random((B, T, N)) < 0.5


@pytest.fixture(scope="module", params=["add", "concat"])
def dynamics(request):
    keras.utils.set_random_seed(0)
    return ReduxDynamics(K, N, A, TRANSFORMER, conditioning=request.param)


def frames_changed(dynamics, actions=ACTIONS, mask=MASK):
    """Return the frames of the first video whose logits change."""
    before, after = (
        ops.convert_to_numpy(dynamics(TOKENS, taken, {"mask": hidden}))[0]
        for taken, hidden in ((ACTIONS, MASK), (actions, mask))
    )
    change = np.abs(after - before).max(axis=(1, 2))
    return np.flatnonzero(change > 1e-5).tolist()


@pytest.mark.parametrize("conditioning", ["add", "concat"])
def test_model(conditioning):
    arguments = {
        "num_codes": K,
        "num_patches": N,
        "action_dim": A,
        "transformer": {**TRANSFORMER, "num_blocks": 0},
        "max_frames": T - 1,
        "conditioning": conditioning,
    }
    inputs = [TOKENS, ACTIONS, {"mask": MASK}]
    run_layer_test(ReduxDynamics, arguments, inputs, mixed_output_dtype="float32")


@pytest.mark.parametrize("t", range(T))
def test_mask_affects_later_frames_only(dynamics, t):
    mask = MASK.copy()
    mask[0, t] = ~mask[0, t]
    assert frames_changed(dynamics, mask=mask) == list(range(t + 1, T))


def test_masked_token_is_hidden(dynamics):
    mask = np.ones_like(MASK)
    tokens = (TOKENS + 1) % K
    outputs = [dynamics(x, ACTIONS, {"mask": mask}) for x in (TOKENS, tokens)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("t", range(T - 1))
def test_action_affects_the_frame_it_leads_to(dynamics, t):
    actions = ACTIONS.copy()
    actions[0, t] += RNG.normal(size=A)
    assert frames_changed(dynamics, actions=actions) == list(range(t + 1, T))


def test_loss_counts_patches_masked_one_frame_before(dynamics):
    scored = ops.convert_to_numpy(dynamics.scored(TOKENS, {"mask": MASK}))
    np.testing.assert_array_equal(scored[:, 1:], MASK[:, :-1])
    assert not scored[:, 0].any()


def test_frames_after_the_last_position_share_it(dynamics):
    few = ReduxDynamics(K, N, A, TRANSFORMER, max_frames=2)
    embedded = few.embed(TOKENS[:, :1], ACTIONS[:, :1], np.array([[1]]))
    later = few.embed(TOKENS[:, :1], ACTIONS[:, :1], np.array([[7]]))
    np.testing.assert_array_equal(embedded, later)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="one of add, concat; received 'token'"):
        ReduxDynamics(K, N, A, TRANSFORMER, conditioning="token")
    with pytest.raises(
        ValueError, match="`action_dim` must be less than.*action_dim=16"
    ):
        ReduxDynamics(K, N, 16, TRANSFORMER, conditioning="concat")
