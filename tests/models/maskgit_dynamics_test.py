import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.models import MaskGitDynamics
from genie_tf.testing.layer_test import run_layer_test

# Axes: b batch, t time, n patches, k codes, a action dim.
B, T, N, K, A = 2, 5, 4, 10, 6


TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2, "qk_norm": True}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # quick to build


def make_dynamics(window=16, conditioning="add"):
    """A model whose head is no longer zero, with a table of large differences."""
    keras.utils.set_random_seed(0)
    transformer = {**TRANSFORMER, "window": window}
    dynamics = MaskGitDynamics(
        K, N, A, transformer, code_dim=8, conditioning=conditioning
    )
    rng = np.random.default_rng(0)
    for weight, scale in (
        (dynamics.table.embeddings, 0.2),
        (dynamics.to_change.kernel, 0.5),
        *[(bias, 1) for bias in dynamics.action_embedding.weights[1:]],
    ):
        weight.assign(scale * rng.normal(size=weight.shape))
    return dynamics


def random_inputs(time=T):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, K, (B, time, N)).astype("int32")
    actions = rng.normal(size=(B, time - 1, A)).astype("float32")
    mask = rng.random((B, time, N)) < 0.5
    mask[:, 0] = False
    return tokens, actions, {"mask": mask}


@pytest.fixture(scope="module", params=["add", "concat", "token"])
def dynamics(request):
    return make_dynamics(conditioning=request.param)


def frames_changed(before, after):
    """Which frames (b, t) of two outputs differ."""
    change = np.abs(ops.convert_to_numpy(after) - ops.convert_to_numpy(before))
    return change.max(axis=(2, 3)) > 1e-5


def test_model():
    arguments = {
        "num_codes": K,
        "num_patches": N,
        "action_dim": A,
        "transformer": NO_BLOCKS,
        "code_dim": 8,
        "conditioning": "concat",
        "mask_rates": (0.25, 0.75),
    }
    run_layer_test(
        MaskGitDynamics, arguments, list(random_inputs()), mixed_output_dtype="float32"
    )


def test_logits_are_of_codes_alone_the_mask_token_is_none(dynamics):
    logits = dynamics(*random_inputs())
    assert logits.shape == (B, T, N, K)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert dynamics.table.embeddings.shape == (K + 1, 8)


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_a_token_changes_its_frame_and_later_ones(dynamics, frame):
    tokens, actions, batch = random_inputs()
    batch["mask"][0, frame, 1] = False
    other = tokens.copy()
    other[0, frame, 1] = (other[0, frame, 1] + 1) % K
    changed = frames_changed(
        dynamics(tokens, actions, batch), dynamics(other, actions, batch)
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= frame, [False] * T])


@pytest.mark.parametrize("frame", [1, 3])
def test_masking_a_token_changes_its_frame_and_later_ones(dynamics, frame):
    tokens, actions, batch = random_inputs()
    other = batch["mask"].copy()
    other[0, frame, 1] = ~other[0, frame, 1]
    changed = frames_changed(
        dynamics(tokens, actions, batch), dynamics(tokens, actions, {"mask": other})
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= frame, [False] * T])


@pytest.mark.parametrize("action", [0, 2, 3])
def test_an_action_changes_the_frame_it_leads_to_and_later_ones(dynamics, action):
    tokens, actions, batch = random_inputs()
    other = actions.copy()
    other[0, action] *= -1
    changed = frames_changed(
        dynamics(tokens, actions, batch), dynamics(tokens, other, batch)
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= action + 1, [False] * T])


@pytest.mark.parametrize("frame", [1, 2, 4])
def test_what_a_masked_token_was_does_not_leak_into_its_frame(dynamics, frame):
    tokens, actions, batch = random_inputs()
    other = tokens.copy()
    other[:, frame:] = np.where(batch["mask"], (tokens + 3) % K, tokens)[:, frame:]
    before, after = (dynamics(x, actions, batch) for x in (tokens, other))
    np.testing.assert_array_equal(before[:, : frame + 1], after[:, : frame + 1])
    # The next frame may know it: in play, it does.
    assert frames_changed(before, after)[:, frame + 1 :].all()


def test_concatenated_actions_enter_beside_the_patches_as_they_are():
    dynamics = make_dynamics(conditioning="concat")
    tokens, actions, _ = random_inputs()
    steering = np.pad(actions, [(0, 0), (1, 0), (0, 0)])
    entered = ops.convert_to_numpy(dynamics.embed(tokens, tokens, steering))
    assert entered.shape == (B, T, N, 16)
    expected = np.repeat(steering[:, :, None], N, axis=2)
    np.testing.assert_array_equal(entered[..., -A:], expected)
    # What the patches are made of is the same whatever the action.
    other = dynamics.embed(tokens, tokens, steering + 1)
    np.testing.assert_array_equal(other[..., :-A], entered[..., :-A])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"conditioning": "film"},
            "`conditioning` must be one of add, concat, token; received 'film'.",
        ),
        (
            {"conditioning": "concat", "action_dim": 16},
            "`action_dim` must be less than the transformer's `dim` if `conditioning` "
            'is "concat"; received action_dim=16, dim=16.',
        ),
    ],
)
def test_impossible_conditioning(arguments, message):
    arguments = {"action_dim": A, **arguments}
    with pytest.raises(ValueError) as error:
        MaskGitDynamics(K, N, transformer=NO_BLOCKS, **arguments)
    assert str(error.value) == message


def test_an_untrained_model_predicts_that_nothing_changes():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS, code_dim=16)
    dynamics.start_from(np.eye(K, 16))
    tokens, actions, batch = random_inputs()
    likeliest = np.argmax(dynamics(tokens, actions, batch), axis=-1)
    np.testing.assert_array_equal(likeliest[:, 1:], tokens[:, :-1])


def test_a_table_that_starts_from_a_codebook_keeps_its_mask_token():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS, code_dim=8)
    mask_token = dynamics.table.embeddings.numpy()[K]
    codebook = np.random.default_rng(0).normal(size=(K, 8)).astype("float32")
    dynamics.start_from(codebook)
    table = dynamics.table.embeddings.numpy()
    np.testing.assert_array_equal(table[:K], codebook)
    np.testing.assert_array_equal(table[K], mask_token)


@pytest.mark.parametrize("conditioning", ["add", "concat", "token"])
def test_play_step_by_step_equals_all_at_once_past_the_window(conditioning):
    frames = 5
    dynamics = make_dynamics(3, conditioning)
    tokens, actions, batch = random_inputs(frames)
    mask = batch["mask"]
    mask[:, 0, :2] = True  # the first frame may be made up, too
    # An action for frame 0, which must be left out, whatever it is.
    led = np.concatenate([np.full((B, 1, A), 9, "float32"), actions], axis=1)
    cache = dynamics.empty_cache(B)
    for t in range(frames):
        # While a frame is made, those before it are known.
        hidden = mask & (np.arange(frames) == t)[:, None]
        hidden = {"mask": hidden[:, : t + 1]}
        expected = dynamics(tokens[:, : t + 1], actions[:, :t], hidden)
        frame = tokens[:, t], led[:, t]
        position = np.full(B, t, "int32")
        logits, _ = dynamics.step(*frame, mask[:, t], cache, position)
        np.testing.assert_allclose(logits, expected[:, t], atol=1e-4)
        known = np.zeros_like(mask[:, t])
        _, entry = dynamics.step(*frame, known, cache, position)
        cache = dynamics.write(cache, entry, position)


def test_loss_is_the_mean_cross_entropy_at_masked_tokens():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS)
    tokens, _, batch = random_inputs()
    logits = np.random.default_rng(1).normal(size=(B, T, N, K)).astype("float32")
    # As many in each clip, so that their mean is the mean of all.
    mask = np.stack([batch["mask"][0]] * B)
    nats = np.log(np.exp(logits).sum(axis=-1))
    nats -= np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    hits = logits.argmax(axis=-1) == tokens
    found = dynamics.loss_and_metrics(tokens, logits, {"mask": mask})
    assert found.keys() == {"loss", "cross_entropy", "top1"}
    assert float(found["loss"]) == float(found["cross_entropy"])
    np.testing.assert_allclose(found["cross_entropy"], nats[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["top1"], hits[mask].mean(), rtol=1e-5)
    # So where nothing was masked, nothing counts.
    assert abs(nats[mask].mean() - nats.mean()) > 0.01
    other_tokens = np.where(mask, tokens, (tokens + 1) % K)
    other_logits = np.where(mask[..., None], logits, -logits)
    other = dynamics.loss_and_metrics(other_tokens, other_logits, {"mask": mask})
    for name in found:
        np.testing.assert_allclose(found[name], other[name], rtol=1e-6)


def test_loss_of_a_batch_without_masks_is_zero():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS)
    tokens, _, batch = random_inputs()
    nothing = {"mask": np.zeros_like(batch["mask"])}
    found = dynamics.loss_and_metrics(
        tokens, np.zeros((B, T, N, K), "float32"), nothing
    )
    assert {float(value) for value in found.values()} == {0.0}


def test_the_likeliest_tokens_stand_where_they_were_masked_and_nowhere_else():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS)
    tokens, _, batch = random_inputs()
    logits = np.random.default_rng(1).normal(size=(B, T, N, K)).astype("float32")
    np.testing.assert_array_equal(
        dynamics.likeliest(tokens, logits, batch),
        np.where(batch["mask"], logits.argmax(axis=-1), tokens),
    )


def test_training_hides_a_share_between_the_rates_and_nothing_of_the_first_frame():
    dynamics = MaskGitDynamics(K, 500, A, NO_BLOCKS, mask_rates=(0.2, 0.6))
    clip = {"video": np.zeros((9, 4, 4, 3), "uint8")}
    shares = []
    for seed in range(40):
        inputs = dynamics.training_inputs(np.random.default_rng(seed), clip)
        assert inputs.keys() == {"mask"}
        mask = inputs["mask"]
        assert mask.shape == (9, 500) and mask.dtype == bool and not mask[0].any()
        shares.append(mask[1:].mean())
        again = dynamics.training_inputs(np.random.default_rng(seed), clip)["mask"]
        np.testing.assert_array_equal(again, mask)
    assert 0.18 < min(shares) < 0.25 and 0.55 < max(shares) < 0.62


@pytest.mark.parametrize(
    "rates",
    [
        (0.5,),
        (0.6, 0.5),
        (-0.1, 0.5),
        (0.5, 1.1),
        (0, 0),
        (float("nan"), 1),
        (True, 1),
        0.5,
        "01",
        None,
        [0.1, 0.2, 0.3],
    ],
    ids=str,
)
def test_mask_rates_that_are_none(rates):
    with pytest.raises(ValueError) as error:
        MaskGitDynamics(K, N, A, NO_BLOCKS, mask_rates=rates)
    assert str(error.value) == (
        "`mask_rates` must be the smallest and the largest share of masked tokens, the "
        f"latter above 0; received {rates!r}."
    )
