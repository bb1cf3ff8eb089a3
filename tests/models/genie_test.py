import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
)

B, T, N = 2, 4, 6
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # Quick to build.


def make_tokenizer(blocks=NO_BLOCKS, **changes):
    arguments = {"frame_shape": (8, 12, 3), "num_codes": 16, **changes}
    return VideoTokenizer(
        patch_size=4, code_dim=8, encoder=blocks, decoder=blocks, **arguments
    )


def make_latent_action_model(blocks=NO_BLOCKS, **changes):
    arguments = {"frame_shape": (8, 12, 3), "patch_size": 4, "action_dim": 8, **changes}
    return LatentActionModel(num_actions=3, encoder=blocks, decoder=blocks, **arguments)


def make_dynamics(blocks=NO_BLOCKS, **changes):
    arguments = {"num_codes": 16, "num_patches": N, "action_dim": 8, **changes}
    return MaskGitDynamics(transformer=blocks, code_dim=8, **arguments)


def make_genie(blocks=TRANSFORMER):
    return Genie(
        make_tokenizer(), make_latent_action_model(blocks), make_dynamics(blocks)
    )


def random_batch():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (B, T, 8, 12, 3), dtype="uint8")
    mask = rng.random((B, T, N)) < 0.7
    mask[:, 0] = False
    action = rng.integers(0, 8, (B, T - 1), dtype="int32")
    return {"video": video, "mask": mask, "action": action}


@pytest.fixture(scope="module")
def genie():
    keras.utils.set_random_seed(0)
    genie = make_genie()
    # Heads start at zero, which would stop all gradients.
    for model in (genie.latent_action_model, genie.dynamics):
        kernel = model.to_change.kernel
        kernel.assign(0.1 * np.random.default_rng(0).normal(size=kernel.shape))
    return genie


def test_outputs_equal_those_of_parts(genie):
    batch = random_batch()
    outputs = genie.compute_outputs(batch)
    tokens = genie.tokenizer.tokenize(batch["video"])
    actions = genie.latent_action_model(batch["video"])
    codes = genie.latent_action_model.quantizer.lookup(actions["indices"])
    np.testing.assert_array_equal(outputs["tokens"], tokens)
    np.testing.assert_allclose(
        outputs["latent_action_model"]["prediction"], actions["prediction"], atol=1e-5
    )
    np.testing.assert_allclose(
        outputs["logits"], genie.dynamics(tokens, codes, batch), atol=1e-4
    )


def test_tokenizer_is_frozen(genie):
    assert not genie.tokenizer.trainable_variables
    trainable = {id(variable) for variable in genie.trainable_variables}
    others = [genie.latent_action_model, genie.dynamics]
    assert trainable == {id(v) for part in others for v in part.trainable_variables}
    # Not only `trainable` is false: no gradient reaches the tokenizer.
    with tf.GradientTape() as tape:
        tape.watch([variable.value for variable in genie.tokenizer.weights])
        metrics, _ = genie.losses_and_metrics(random_batch())
    gradients = tape.gradient(
        metrics["loss"], [variable.value for variable in genie.tokenizer.weights]
    )
    assert all(gradient is None for gradient in gradients)


def test_latent_action_model_learns_only_from_its_full_loss(genie):
    batch = random_batch()
    model = genie.latent_action_model
    with tf.GradientTape(persistent=True) as tape:
        metrics, _ = genie.losses_and_metrics(batch)
        own, _ = model.losses_and_metrics(batch)
    weights = model.trainable_weights
    from_dynamics = tape.gradient(metrics["dynamics/cross_entropy"], weights)
    assert all(gradient is None for gradient in from_dynamics)
    for expected, gradient in zip(
        tape.gradient(own["loss"], weights), tape.gradient(metrics["loss"], weights)
    ):
        assert np.any(expected)
        np.testing.assert_allclose(gradient, expected, atol=1e-6)
    for gradient in tape.gradient(metrics["loss"], genie.dynamics.trainable_weights):
        assert np.any(tf.convert_to_tensor(gradient))


def test_frozen_latent_action_model_is_not_changed():
    genie = make_genie()
    model = genie.latent_action_model
    model.trainable = False
    assert not {id(v) for v in model.weights} & {id(v) for v in genie.trainable_weights}
    metrics, codebook_stats = genie.losses_and_metrics(random_batch())
    assert float(metrics["loss"]) == float(metrics["dynamics/cross_entropy"])
    assert float(metrics["latent_action/loss"]) > 0
    before = [ops.convert_to_numpy(variable) for variable in model.weights]
    genie.update_codebooks(codebook_stats)
    for expected, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_guided_genie_reads_true_actions_as_one_hot():
    keras.utils.set_random_seed(0)
    dynamics = make_dynamics(TRANSFORMER)
    kernel = dynamics.to_change.kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    guided = GuidedGenie(make_tokenizer(), dynamics)
    assert guided.num_actions == 8
    batch = random_batch()
    outputs = guided.compute_outputs(batch)
    tokens = guided.tokenizer.tokenize(batch["video"])
    np.testing.assert_array_equal(outputs["tokens"], tokens)
    np.testing.assert_array_equal(outputs["actions"], batch["action"])
    expected = dynamics(tokens, np.eye(8)[batch["action"]], batch)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4)
    from_tokens = guided.compute_outputs({**batch, "tokens": tokens})
    np.testing.assert_array_equal(from_tokens["logits"], outputs["logits"])

    metrics, codebook_stats = guided.losses_and_metrics(batch)
    tops = {f"dynamics/top{k}" for k in (1, 2, 5, 16)}
    assert set(metrics) == {"loss", "dynamics/cross_entropy", *tops}
    assert float(metrics["loss"]) == float(metrics["dynamics/cross_entropy"]) > 0
    assert codebook_stats == {} == guided.codebook_metrics({})
    guided.update_codebooks({})
    assert len(guided.trainable_variables) == len(dynamics.trainable_variables)
    with pytest.raises(ValueError, match="GuidedGenie cannot infer the actions of a"):
        guided.infer_actions(batch["video"])


def test_parts_of_guided_genie_that_do_not_fit_are_rejected():
    with pytest.raises(ValueError, match="agree on `num_codes`; received 16 and 20[.]"):
        GuidedGenie(make_tokenizer(), make_dynamics(num_codes=20))


def test_losses_and_metrics(genie):
    batch = random_batch()
    metrics, codebook_stats = genie.losses_and_metrics(batch)
    outputs = genie.compute_outputs(batch)
    actions, _ = genie.latent_action_model.losses_and_metrics(batch)
    actions |= genie.latent_action_model.codebook_metrics(codebook_stats)
    metrics |= genie.codebook_metrics(codebook_stats)
    for name, value in actions.items():
        np.testing.assert_allclose(metrics[f"latent_action/{name}"], value, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["loss"], metrics["dynamics/cross_entropy"] + actions["loss"], rtol=1e-5
    )
    tokens, logits = (ops.convert_to_numpy(outputs[x]) for x in ("tokens", "logits"))
    log_shares = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    log_shares = np.take_along_axis(log_shares, tokens[..., None], axis=-1)[..., 0]
    # Clips count equally, no matter how much of them is masked.
    nats = [-x[mask].mean() for x, mask in zip(log_shares, batch["mask"], strict=True)]
    np.testing.assert_allclose(
        metrics["dynamics/cross_entropy"], np.mean(nats), rtol=1e-4
    )
    np.testing.assert_array_equal(
        codebook_stats["indices"], outputs["latent_action_model"]["indices"]
    )


def test_reconstruction_replaces_only_masked_tokens(genie):
    batch = random_batch()
    outputs = genie.compute_outputs(batch)
    expected = np.where(
        batch["mask"], np.argmax(outputs["logits"], axis=-1), outputs["tokens"]
    )
    np.testing.assert_allclose(
        genie.reconstruct(batch), genie.tokenizer.detokenize(expected), atol=1e-5
    )


def test_latent_action_model_can_read_tokens_instead_of_pixels():
    token_model = make_latent_action_model(frame_shape=(2, 3, 8), patch_size=1)
    genie = Genie(make_tokenizer(), token_model, make_dynamics())
    batch = random_batch()
    tokens = ops.convert_to_numpy(genie.tokenizer.tokenize(batch["video"]))
    # Codes have length 1; the tokens of a frame are row-major over its 2x3 patches.
    codes = ops.convert_to_numpy(genie.tokenizer.quantizer.codes())[tokens]
    video = ((codes + 1) / 2).reshape(B, T, 2, 3, 8)

    expected = token_model(video)
    outputs = genie.compute_outputs(batch)["latent_action_model"]
    for actions in (outputs["indices"], genie.infer_actions(batch["video"])):
        np.testing.assert_array_equal(actions, expected["indices"])
    np.testing.assert_allclose(outputs["prediction"], expected["prediction"], atol=1e-5)
    metrics, _ = genie.losses_and_metrics(batch)
    own, _ = token_model.losses_and_metrics({"video": video})
    np.testing.assert_allclose(metrics["latent_action/loss"], own["loss"], rtol=1e-4)

    with tf.GradientTape() as tape:
        codebook = genie.tokenizer.quantizer.codebook.value
        tape.watch(codebook)
        metrics, _ = genie.losses_and_metrics(batch)
    assert tape.gradient(metrics["loss"], codebook) is None


def test_inferred_actions_are_those_of_latent_action_model(genie):
    video = random_batch()["video"]
    np.testing.assert_array_equal(
        genie.infer_actions(video), genie.latent_action_model.infer_actions(video)
    )


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            {
                "latent_action_model": lambda: make_latent_action_model(
                    frame_shape=(8, 8, 3)
                )
            },
            r"`frame_shape`; received \(8, 12, 3\) and \(8, 8, 3\)",
        ),
        (
            {"dynamics": lambda: make_dynamics(num_codes=20)},
            "`num_codes`; received 16 and 20",
        ),
        (
            {"dynamics": lambda: make_dynamics(num_patches=9)},
            "`num_tokens`; received 6 and 9",
        ),
        (
            {"latent_action_model": lambda: make_latent_action_model(action_dim=5)},
            "`action_dim`; received 5 and 8",
        ),
    ],
)
def test_parts_that_do_not_fit_are_rejected(genie, changed, message):
    parts = {
        "tokenizer": genie.tokenizer,
        "latent_action_model": genie.latent_action_model,
        "dynamics": genie.dynamics,
        **{name: make() for name, make in changed.items()},
    }
    with pytest.raises(ValueError, match=f"must agree on {message}[.]$"):
        Genie(**parts)


@pytest.mark.parametrize("kind", [Genie, GuidedGenie])
def test_config_restores_equal_genie(kind):
    parts = make_genie(NO_BLOCKS).parts()
    if kind is GuidedGenie:
        del parts["latent_action_model"]
    genie = kind(**parts)
    config = json.loads(json.dumps(genie.get_config()))
    copy = kind.from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config
    assert not copy.tokenizer.trainable_variables
    copy.set_weights(genie.get_weights())
    batch = random_batch()
    before, after = (model.compute_outputs(batch) for model in (genie, copy))
    for name in ("logits", "tokens"):
        np.testing.assert_allclose(before[name], after[name], atol=1e-5)


def test_genie_can_overfit_one_batch():
    keras.utils.set_random_seed(0)
    genie = make_genie()
    # A white square jumps from patch to patch.
    patches = np.random.default_rng(0).integers(0, N, (B, T))
    grid = (np.arange(N) == patches[..., None]).reshape(B, T, 2, 3, 1)
    video = (255 * grid).astype("uint8").repeat(4, axis=2).repeat(4, axis=3)
    batch = {"video": video.repeat(3, axis=4), "mask": random_batch()["mask"]}
    frozen = genie.tokenizer.get_weights()
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(genie.trainable_variables)

    @tf.function
    def train_step():
        with tf.GradientTape() as tape:
            metrics, codebook_stats = genie.losses_and_metrics(batch)
        optimizer.apply(tape.gradient(metrics["loss"], genie.trainable_variables))
        genie.update_codebooks(codebook_stats)
        return metrics

    history = [train_step() for _ in range(60)]
    for name in ("loss", "dynamics/cross_entropy", "latent_action/loss"):
        losses = [float(metrics[name]) for metrics in history]
        assert min(losses[-10:]) < losses[0] / 3
    # The tokenizer does not change, including its codebook.
    for before, after in zip(frozen, genie.tokenizer.get_weights()):
        np.testing.assert_array_equal(before, after)
