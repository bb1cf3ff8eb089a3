import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.models import MaskGitDynamics
from genie_tf.testing.layer_test import run_layer_test

# Axes: b batch, t time, n patches, k codes, a action dim.
B, T, N, K, A = 2, 5, 4, 10, 6


TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2, "qk_norm": True}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # Quick to build.


PUBLISHED = {"sees_previous": False, "predicts": "token"}


def make_dynamics(window=16, **arguments):
    """Make a model whose head is not zero and whose codes differ much."""
    keras.utils.set_random_seed(0)
    transformer = {**TRANSFORMER, "window": window}
    dynamics = MaskGitDynamics(K, N, A, transformer, code_dim=8, **arguments)
    rng = np.random.default_rng(0)
    for weight, scale in (
        (dynamics.table.embeddings, 0.2),
        (dynamics.head.kernel, 0.5),
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


VARIANTS = [
    *[{"conditioning": x} for x in ("add", "concat", "token")],
    *[{**PUBLISHED, "conditioning": x} for x in ("add", "concat", "token")],
    {"sees_previous": False},
    {"predicts": "token"},
]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def dynamics(request):
    return make_dynamics(**request.param)


def frames_changed(before, after):
    """Return which frames (b, t) of two outputs differ."""
    change = np.abs(ops.convert_to_numpy(after) - ops.convert_to_numpy(before))
    return change.max(axis=(2, 3)) > 1e-5


@pytest.mark.parametrize("switches", [{}, PUBLISHED], ids=["ours", "published"])
def test_model(switches):
    arguments = {
        "num_codes": K,
        "num_patches": N,
        "action_dim": A,
        "transformer": NO_BLOCKS,
        "code_dim": 8,
        "conditioning": "concat",
        "mask_rates": (0.25, 0.75),
        **switches,
    }
    run_layer_test(
        MaskGitDynamics, arguments, list(random_inputs()), mixed_output_dtype="float32"
    )


def test_mask_token_has_no_logit(dynamics):
    logits = dynamics(*random_inputs())
    assert logits.shape == (B, T, N, K)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert dynamics.table.embeddings.shape[0] == K + 1


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_token_affects_its_frame_and_later_ones(dynamics, frame):
    tokens, actions, batch = random_inputs()
    batch["mask"][0, frame, 1] = False
    other = tokens.copy()
    other[0, frame, 1] = (other[0, frame, 1] + 1) % K
    changed = frames_changed(
        dynamics(tokens, actions, batch), dynamics(other, actions, batch)
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= frame, [False] * T])


@pytest.mark.parametrize("frame", [1, 3])
def test_mask_affects_its_frame_and_later_ones(dynamics, frame):
    tokens, actions, batch = random_inputs()
    other = batch["mask"].copy()
    other[0, frame, 1] = ~other[0, frame, 1]
    changed = frames_changed(
        dynamics(tokens, actions, batch), dynamics(tokens, actions, {"mask": other})
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= frame, [False] * T])


@pytest.mark.parametrize("action", [0, 2, 3])
def test_action_affects_frame_it_leads_to_and_later_ones(dynamics, action):
    tokens, actions, batch = random_inputs()
    other = actions.copy()
    other[0, action] *= -1
    changed = frames_changed(
        dynamics(tokens, actions, batch), dynamics(tokens, other, batch)
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= action + 1, [False] * T])


@pytest.mark.parametrize("frame", [1, 2, 4])
def test_masked_tokens_do_not_leak_into_their_frame(dynamics, frame):
    tokens, actions, batch = random_inputs()
    other = tokens.copy()
    other[:, frame:] = np.where(batch["mask"], (tokens + 3) % K, tokens)[:, frame:]
    before, after = (dynamics(x, actions, batch) for x in (tokens, other))
    np.testing.assert_array_equal(before[:, : frame + 1], after[:, : frame + 1])
    # The next frame depends on them, except as published: in play, they are known.
    seen = dynamics.sees_previous or dynamics.predicts == "change"
    assert (frames_changed(before, after)[:, frame + 1 :] == seen).all()


@pytest.mark.parametrize("conditioning", ["add", "concat", "token"])
def test_masked_tokens_change_no_logit_as_published(conditioning):
    dynamics = make_dynamics(conditioning=conditioning, **PUBLISHED)
    tokens, actions, batch = random_inputs()
    for shift in range(1, K):
        other = np.where(batch["mask"], (tokens + shift) % K, tokens)
        np.testing.assert_array_equal(
            dynamics(tokens, actions, batch), dynamics(other, actions, batch)
        )


def test_concatenated_actions_enter_unprojected_next_to_patches():
    dynamics = make_dynamics(conditioning="concat")
    tokens, actions, _ = random_inputs()
    steering = np.pad(actions, [(0, 0), (1, 0), (0, 0)])
    embedded = ops.convert_to_numpy(dynamics.embed(tokens, tokens, steering))
    assert embedded.shape == (B, T, N, 16)
    expected = np.repeat(steering[:, :, None], N, axis=2)
    np.testing.assert_array_equal(embedded[..., -A:], expected)
    # Embeddings of patches do not depend on the action.
    other = dynamics.embed(tokens, tokens, steering + 1)
    np.testing.assert_array_equal(other[..., :-A], embedded[..., :-A])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"conditioning": "film"},
            "`conditioning` must be one of add, concat, token; received 'film'.",
        ),
        (
            {"predicts": "frame"},
            "`predicts` must be one of change, token; received 'frame'.",
        ),
        ({"sees_previous": 2}, "`sees_previous` must be true or false; received 2."),
        (
            {"conditioning": "concat", "action_dim": 16},
            "`action_dim` must be less than the transformer's `dim` if `conditioning` "
            'is "concat"; received action_dim=16, dim=16.',
        ),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    arguments = {"action_dim": A, **arguments}
    with pytest.raises(ValueError) as error:
        MaskGitDynamics(K, N, transformer=NO_BLOCKS, **arguments)
    assert str(error.value) == message


def test_untrained_model_predicts_no_change():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS, code_dim=16)
    dynamics.start_from(np.eye(K, 16))
    tokens, actions, batch = random_inputs()
    likeliest = np.argmax(dynamics(tokens, actions, batch), axis=-1)
    np.testing.assert_array_equal(likeliest[:, 1:], tokens[:, :-1])


def test_starting_from_codebook_keeps_mask_token():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS, code_dim=8)
    mask_token = dynamics.table.embeddings.numpy()[K]
    codebook = np.random.default_rng(0).normal(size=(K, 8)).astype("float32")
    dynamics.start_from(codebook)
    table = dynamics.table.embeddings.numpy()
    np.testing.assert_array_equal(table[:K], codebook)
    np.testing.assert_array_equal(table[K], mask_token)


def test_classifier_does_not_start_from_codebook():
    dynamics = make_dynamics(**PUBLISHED)
    table = dynamics.table.embeddings.numpy()
    assert table.shape == (K + 1, TRANSFORMER["dim"])
    dynamics.start_from(np.ones((K, 8)))
    np.testing.assert_array_equal(dynamics.table.embeddings, table)


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_steps_equal_call_beyond_window(arguments):
    frames = 5
    dynamics = make_dynamics(3, **arguments)
    tokens, actions, batch = random_inputs(frames)
    mask = batch["mask"]
    mask[:, 0, :2] = True  # The first frame can be masked, too.
    # The action for frame 0 must be ignored.
    incoming = np.concatenate([np.full((B, 1, A), 9, "float32"), actions], axis=1)
    cache = dynamics.empty_cache(B)
    for t in range(frames):
        # While a frame is sampled, earlier frames are known.
        hidden = mask & (np.arange(frames) == t)[:, None]
        hidden = {"mask": hidden[:, : t + 1]}
        expected = dynamics(tokens[:, : t + 1], actions[:, :t], hidden)
        frame = tokens[:, t], incoming[:, t]
        position = np.full(B, t, "int32")
        logits, _ = dynamics.step(*frame, mask[:, t], cache, position)
        np.testing.assert_allclose(logits, expected[:, t], atol=1e-4)
        known = np.zeros_like(mask[:, t])
        _, entry = dynamics.step(*frame, known, cache, position)
        cache = dynamics.write(cache, entry, position)


def test_loss_is_mean_cross_entropy_at_masked_tokens():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS)
    tokens, _, batch = random_inputs()
    logits = np.random.default_rng(1).normal(size=(B, T, N, K)).astype("float32")
    # Clips have equally many, so that the mean over clips is the mean over tokens.
    mask = np.stack([batch["mask"][0]] * B)
    nats = np.log(np.exp(logits).sum(axis=-1))
    nats -= np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    hits = logits.argmax(axis=-1) == tokens
    metrics = dynamics.loss_and_metrics(tokens, logits, {"mask": mask})
    top = {f"top{k}" for k in (1, 2, 5, 16)}
    assert metrics.keys() == {"loss", "cross_entropy", *top}
    assert float(metrics["loss"]) == float(metrics["cross_entropy"])
    np.testing.assert_allclose(metrics["cross_entropy"], nats[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["top1"], hits[mask].mean(), rtol=1e-5)
    # Tokens that are not masked do not count.
    assert abs(nats[mask].mean() - nats.mean()) > 0.01
    other_tokens = np.where(mask, tokens, (tokens + 1) % K)
    other_logits = np.where(mask[..., None], logits, -logits)
    other = dynamics.loss_and_metrics(other_tokens, other_logits, {"mask": mask})
    for name in metrics:
        np.testing.assert_allclose(metrics[name], other[name], rtol=1e-6)


def test_loss_of_a_batch_without_masks_is_zero():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS)
    tokens, _, batch = random_inputs()
    no_mask = {"mask": np.zeros_like(batch["mask"])}
    metrics = dynamics.loss_and_metrics(
        tokens, np.zeros((B, T, N, K), "float32"), no_mask
    )
    assert {float(value) for value in metrics.values()} == {0.0}


def test_likeliest_replaces_only_masked_tokens():
    dynamics = MaskGitDynamics(K, N, A, NO_BLOCKS)
    tokens, _, batch = random_inputs()
    logits = np.random.default_rng(1).normal(size=(B, T, N, K)).astype("float32")
    np.testing.assert_array_equal(
        dynamics.likeliest(tokens, logits, batch),
        np.where(batch["mask"], logits.argmax(axis=-1), tokens),
    )


def test_training_masks_share_between_rates_and_no_first_frame():
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
def test_invalid_mask_rates_are_rejected(rates):
    with pytest.raises(ValueError) as error:
        MaskGitDynamics(K, N, A, NO_BLOCKS, mask_rates=rates)
    assert str(error.value) == (
        "`mask_rates` must be the smallest and the largest share of masked tokens, the "
        f"latter above 0; received {rates!r}."
    )
