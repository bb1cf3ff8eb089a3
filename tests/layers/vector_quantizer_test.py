import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.layers import VectorQuantizer, code_counts
from genie_tf.noise import uniform
from genie_tf.testing.layer_test import run_layer_test

L = 4  # Latent dim.


def random_latents(shape=(2, 3, 5, L), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_quantizer(num_codes=6, **arguments):
    """Make a quantizer whose codes have different lengths."""
    quantizer = VectorQuantizer(num_codes, L, **arguments)
    quantizer.build((None, L))
    codes = random_latents((num_codes, L), seed=1)
    quantizer.codebook.assign(codes * np.linspace(0.1, 9, num_codes)[:, None])
    return quantizer


def gradients(quantizer, latents, name, cotangent=1.0):
    """Return the gradients of a summed output for the latents and the codebook."""
    latents = tf.constant(latents)
    with tf.GradientTape() as tape:
        tape.watch(latents)
        target = tf.reduce_sum(quantizer(latents)[name] * cotangent)
    return tape.gradient(
        target,
        [latents, quantizer.codebook.value],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )


def test_layer():
    run_layer_test(
        VectorQuantizer,
        {
            "num_codes": 6,
            "code_dim": L,
            "commitment_weight": 0.5,
            "idle_limit": 3,
            "quantize_after": 2,
            "ema": 0.9,
        },
        (2, 3, L),
        mixed_output_dtype="float32",
        mixed_tolerance=1.5,  # Rounding can change the code.
    )


PLAIN = {"metric": "euclidean", "centered": False, "idle_limit": None}


def test_plain_layer():
    run_layer_test(
        VectorQuantizer,
        {
            "num_codes": 6,
            "code_dim": L,
            **PLAIN,
            "data_init": False,
            "move_to": "codes",
        },
        (2, 3, L),
        mixed_output_dtype="float32",
        mixed_tolerance=4,  # Rounding can change the code.
    )


def test_latents_become_nearest_codes_in_plain_quantizer():
    quantizer, latents = make_quantizer(**PLAIN), 3 * random_latents()
    outputs = quantizer(latents)
    codes = quantizer.codebook.numpy()
    distances = np.linalg.norm(latents[..., None, :] - codes, axis=-1)
    nearest = np.argmin(distances, axis=-1)
    assert len(np.unique(nearest)) > 3
    assert (nearest != np.array(make_quantizer()(latents)["indices"])).any()
    np.testing.assert_array_equal(outputs["indices"], nearest)
    np.testing.assert_allclose(outputs["quantized"], codes[nearest], atol=1e-5)
    np.testing.assert_array_equal(outputs["latents"], latents)
    np.testing.assert_array_equal(quantizer.lookup(nearest), codes[nearest])
    error = np.mean((latents - codes[nearest]) ** 2)
    np.testing.assert_allclose(outputs["loss"], 1.25 * error, rtol=1e-5)


def test_plain_quantizer_keeps_no_mean_and_no_update_changes_its_codes():
    quantizer = make_quantizer(**PLAIN)
    assert [x.name for x in quantizer.weights] == ["codebook", "idle", "updates"]
    outputs = quantizer(random_latents())
    assert quantizer.codebook_stats(outputs).keys() == {"latents", "indices"}
    for seed in range(3):
        _, moved = update(quantizer, random_latents(seed=seed) + 9)
        assert not moved.any()


def test_latents_become_codes_of_largest_cosine():
    quantizer = make_quantizer()
    latents = random_latents() * np.array([[0.01], [1], [1], [1], [100]], "float32")
    outputs = quantizer(latents)
    codes = unit(quantizer.codebook.numpy())
    nearest = np.argmax(unit(latents) @ codes.T, axis=-1)
    assert len(np.unique(nearest)) > 3
    assert keras.backend.standardize_dtype(outputs["indices"].dtype) == "int32"
    np.testing.assert_array_equal(outputs["indices"], nearest)
    np.testing.assert_allclose(outputs["quantized"], codes[nearest], atol=1e-6)
    np.testing.assert_allclose(outputs["latents"], unit(latents), atol=1e-6)


def test_cosines_are_relative_to_center():
    quantizer = make_quantizer()
    latents, center = random_latents(), np.array([1, -2, 0, 1], "float32")
    quantizer.center.assign(center)
    outputs = quantizer(latents)
    directions = unit(latents - center)
    nearest = np.argmax(directions @ unit(quantizer.codebook.numpy()).T, axis=-1)
    assert (nearest != np.array(make_quantizer()(latents)["indices"])).any()
    np.testing.assert_array_equal(outputs["indices"], nearest)
    np.testing.assert_allclose(outputs["latents"], directions, atol=1e-6)


def test_common_part_of_latents_is_removed():
    latents = random_latents()
    shared = 5.0
    quantizer = make_quantizer()
    for _ in range(80):
        update(quantizer, latents + shared)
    mean = latents.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(quantizer.center, mean + shared, atol=0.01)
    np.testing.assert_allclose(
        quantizer(latents + shared)["latents"], unit(latents - mean), atol=0.01
    )


def test_center_moves_one_tenth_toward_mean_over_replicas():
    quantizer = make_quantizer()
    outputs = [quantizer(random_latents(seed=seed)) for seed in range(2)]
    gathered = {
        name: ops.concatenate([quantizer.codebook_stats(x)[name] for x in outputs])
        for name in quantizer.codebook_stats(outputs[0])
    }
    quantizer.update(**gathered)
    mean = np.mean([random_latents(seed=seed) for seed in range(2)], axis=(0, 1, 2, 3))
    np.testing.assert_allclose(quantizer.center, 0.1 * mean, atol=1e-6)


def test_outputs_are_latents_in_soft_phase_and_then_codes():
    quantizer, latents = make_quantizer(quantize_after=2), random_latents()
    for soft in (True, True, False, False):
        outputs = quantizer(latents)
        directions, codes = outputs["latents"], quantizer.lookup(outputs["indices"])
        assert np.abs(directions - codes).max() > 0.01
        expected = directions if soft else codes
        np.testing.assert_allclose(outputs["quantized"], expected, atol=1e-6)
        assert (float(outputs["loss"]) == 0) == soft
        update(quantizer, latents)


@pytest.mark.parametrize("batch", [50, 500])  # Three batches are below or above 1,024.
def test_codes_start_at_clusters_of_latents_after_soft_phase(batch):
    axes = np.concatenate([np.eye(L), -np.eye(L)])
    rng = np.random.default_rng(0)
    quantizer = make_quantizer(num_codes=2 * L, quantize_after=3)
    for _ in range(3):
        latents = axes[rng.integers(2 * L, size=batch)]
        latents += rng.normal(0, 0.05, (batch, L))
        update(quantizer, latents.astype("float32"))
    cosines = unit(quantizer.codebook.numpy()) @ axes.T
    assert (cosines > 0.99).sum(axis=0).tolist() == [1] * 2 * L
    assert not quantizer.idle.numpy().any()


def test_lookup_returns_quantized_outputs():
    quantizer = make_quantizer()
    outputs = quantizer(random_latents())
    np.testing.assert_allclose(
        quantizer.lookup(outputs["indices"]), outputs["quantized"], atol=1e-6
    )


@pytest.mark.parametrize("weight", [0.0, 0.25, 3.0])
def test_loss_is_codebook_loss_plus_weighted_commitment_loss(weight):
    quantizer = make_quantizer(commitment_weight=weight)
    latents = random_latents()
    outputs = quantizer(latents)
    distance = np.mean((unit(latents) - outputs["quantized"]) ** 2)
    np.testing.assert_allclose(outputs["loss"], (1 + weight) * distance, rtol=1e-5)


def test_gradient_is_straight_through_to_latents_and_not_to_codebook():
    quantizer, latents = make_quantizer(), random_latents()
    cotangent = random_latents(seed=2)
    to_latents, to_codebook = gradients(quantizer, latents, "quantized", cotangent)
    # The gradient of latents projected to the unit sphere.
    along = np.sum(cotangent * unit(latents), axis=-1, keepdims=True)
    expected = cotangent - along * unit(latents)
    expected /= np.linalg.norm(latents, axis=-1, keepdims=True)
    np.testing.assert_allclose(to_latents, expected, atol=1e-5)
    assert not np.any(to_codebook)


@pytest.mark.parametrize("weight", [0.0, 0.25, 3.0])
def test_codebook_learns_only_from_codebook_loss(weight):
    quantizer = make_quantizer(commitment_weight=weight)
    latents = random_latents()
    _, to_codebook = gradients(quantizer, latents, "loss")
    indices = ops.convert_to_numpy(quantizer(latents)["indices"]).reshape(-1)
    codebook = quantizer.codebook.numpy()
    expected = np.zeros_like(codebook)
    for index, latent in zip(indices, unit(latents).reshape(-1, L)):
        code = unit(codebook[index])
        pull = 2 * (code - latent) / latents.size
        expected[index] += (pull - pull @ code * code) / np.linalg.norm(codebook[index])
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(to_codebook, expected, atol=1e-5)


def test_latents_learn_from_weighted_commitment_loss():
    latents = random_latents()
    by_weight = [
        gradients(make_quantizer(commitment_weight=weight), latents, "loss")[0]
        for weight in (0.0, 1.0, 3.0)
    ]
    assert not np.any(by_weight[0])
    assert np.abs(by_weight[1]).max() > 1e-3
    np.testing.assert_allclose(by_weight[2], 3 * by_weight[1], rtol=1e-4, atol=1e-7)


def update(quantizer, latents):
    """Update with a batch; return its outputs and which codes moved."""
    outputs = quantizer(latents)
    before = quantizer.codebook.numpy()
    quantizer.update(**quantizer.codebook_stats(outputs))
    moved = (quantizer.codebook.numpy() != before).any(axis=-1)
    return {name: ops.convert_to_numpy(x) for name, x in outputs.items()}, moved


def test_initially_idle_codes_move_onto_different_latents():
    quantizer = make_quantizer(num_codes=12)
    latents = random_latents((2, 10, L))
    latents[..., 0] = np.abs(latents[..., 0]) + 3  # In one corner: most codes are idle.
    outputs, moved = update(quantizer, latents)
    idle = np.setdiff1d(np.arange(12), outputs["indices"])
    assert len(idle) >= 6
    np.testing.assert_array_equal(np.flatnonzero(moved), idle)

    codes = unit(quantizer.codebook.numpy())
    latents = outputs["latents"].reshape(-1, L)
    distances = np.linalg.norm(codes[idle][:, None] - latents, axis=-1)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-5)
    assert len(np.unique(distances.argmin(axis=1))) == len(idle)
    # No two codes tie.
    cosines = codes @ codes.T
    assert cosines[~np.eye(12, dtype=bool)].max() < 1 - 1e-6


def test_moved_codes_are_used_afterward():
    quantizer = make_quantizer(num_codes=12)
    latents = random_latents((8, L))
    _, moved = update(quantizer, latents)
    assert moved.sum() >= 4
    assert set(np.flatnonzero(moved)) <= set(np.array(quantizer(latents)["indices"]))


def axes_quantizer(**arguments):
    """Return a quantizer with codes along the axes, and latents equal to the codes."""
    quantizer = make_quantizer(num_codes=2 * L, **arguments)
    codes = np.concatenate([np.eye(L), -np.eye(L)]).astype("float32")
    quantizer.codebook.assign(codes)
    return quantizer, codes


def test_codes_move_when_idle_for_longer_than_the_limit():
    quantizer, codes = axes_quantizer(idle_limit=2)
    update(quantizer, codes)
    for updates in range(1, 5):
        noise = random_latents(codes.shape, updates) / 99
        _, moved = update(quantizer, codes[:1] + noise)
        # Codes move at the third update in a row without use; then counting restarts.
        expected = [False] + [updates == 3] * (2 * L - 1)
        np.testing.assert_array_equal(moved, expected)


def test_used_codes_never_move():
    quantizer, codes = axes_quantizer(idle_limit=0)
    for seed in range(4):
        noise = random_latents(codes.shape, seed) / 99
        _, moved = update(quantizer, codes + noise)
        assert not moved.any()


def test_more_idle_codes_than_latents_move_over_several_updates():
    quantizer = make_quantizer(num_codes=24)
    all_moved = []
    for seed in range(2):
        outputs, moved = update(quantizer, random_latents((4, L), seed))
        assert moved.sum() == 4
        np.testing.assert_allclose(
            sorted(unit(quantizer.codebook.numpy()[moved]).tolist()),
            sorted(outputs["latents"].tolist()),
            atol=1e-5,
        )
        all_moved.extend(np.flatnonzero(moved))
    assert len(set(all_moved)) == 8


def test_first_batch_moves_no_code_without_data_init():
    quantizer, codes = axes_quantizer(idle_limit=2, data_init=False)
    for updates in range(1, 5):
        _, moved = update(quantizer, codes[:1] + random_latents(codes.shape) / 99)
        np.testing.assert_array_equal(moved, [False] + [updates == 3] * (2 * L - 1))


def test_idle_codes_become_copies_of_used_codes_in_turn():
    quantizer, codes = axes_quantizer(idle_limit=0, move_to="codes")
    _, moved = update(quantizer, codes[[2, 5, 5]] + random_latents((3, L)) / 99)
    np.testing.assert_array_equal(moved, [x not in (2, 5) for x in range(2 * L)])
    sources = [2, 5, 2, 2, 5, 5, 2, 5]
    np.testing.assert_array_equal(quantizer.codebook, codes[sources])


@pytest.mark.parametrize("limit, moved_at_first", [(None, False), (1_000, True)])
def test_codes_can_stay_forever_or_move_only_at_start(limit, moved_at_first):
    quantizer, codes = axes_quantizer(idle_limit=limit)
    latents = codes[:1] + random_latents(codes.shape) / 99
    moved = [update(quantizer, latents)[1].any() for _ in range(5)]
    assert moved == [moved_at_first] + [False] * 4


def test_codes_follow_their_latents_with_ema():
    quantizer, codes = axes_quantizer(idle_limit=None, ema=0.75)
    assert not quantizer.trainable_variables
    latents = (codes + random_latents(codes.shape) / 9)[:5]
    latents = np.concatenate([latents, 3 * latents[:1] + 0.1])
    outputs, _ = update(quantizer, latents)
    assert outputs["indices"].tolist() == [0, 1, 2, 3, 4, 0]
    directions = unit(latents)
    means = unit(np.concatenate([directions[:1] + directions[5:], directions[1:5]]))
    expected = np.concatenate([0.75 * codes[:5] + 0.25 * means, codes[5:]])
    np.testing.assert_allclose(quantizer.codebook, expected, atol=1e-6)


def test_codes_follow_means_of_latents_of_any_length_in_plain_quantizer():
    quantizer, codes = axes_quantizer(ema=0.75, **PLAIN)
    latents = codes[[0, 0, 1]] * np.array([[3], [1], [4]], "float32")
    update(quantizer, latents)
    expected = codes.copy()
    expected[:2] *= np.array([[0.75 + 0.25 * 2], [0.75 + 0.25 * 4]])
    np.testing.assert_allclose(quantizer.codebook, expected, atol=1e-6)


def test_loss_is_only_commitment_with_ema():
    latents = random_latents()
    outputs = make_quantizer(ema=0.9)(latents)
    distance = np.mean((unit(latents) - outputs["quantized"]) ** 2)
    np.testing.assert_allclose(outputs["loss"], 0.25 * distance, rtol=1e-5)


def test_update_is_deterministic():
    codebooks = []
    for _ in range(2):
        quantizer = make_quantizer(num_codes=12)
        for seed in range(3):
            update(quantizer, random_latents((8, L), seed))
        codebooks.append(quantizer.codebook.numpy())
    np.testing.assert_array_equal(*codebooks)


def test_code_counts():
    counts = code_counts(ops.convert_to_tensor([[0, 0], [1, 5]]), 7)
    np.testing.assert_array_equal(counts, [2, 1, 0, 0, 0, 1, 0])


def test_outputs_are_float32_in_mixed_precision():
    quantizer = make_quantizer(num_codes=64, dtype="mixed_bfloat16")
    latents = ops.cast(random_latents((50, L)), "bfloat16")
    outputs = quantizer(latents)
    for name in ("quantized", "latents", "loss"):
        assert keras.backend.standardize_dtype(outputs[name].dtype) == "float32"
    # Similarities in bfloat16 would confuse many of the 64 codes.
    latents = ops.convert_to_numpy(ops.cast(latents, "float32"))
    nearest = np.argmax(unit(latents) @ unit(quantizer.codebook.numpy()).T, axis=-1)
    np.testing.assert_array_equal(outputs["indices"], nearest)


def test_latents_of_wrong_width_are_rejected():
    with pytest.raises(ValueError, match=r"width code_dim=4; received shape \(2, 5\)"):
        VectorQuantizer(6, L)(np.zeros((2, 5)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"metric": "l2"},
            "`metric` must be one of cosine, euclidean; received 'l2'.",
        ),
        (
            {"move_to": "mean"},
            "`move_to` must be one of latents, codes; received 'mean'.",
        ),
        (
            {"unit_codes": True},
            "`unit_codes` must be one of always, compared, never; received True.",
        ),
        ({"centered": 1}, "`centered` must be true or false; received 1."),
        ({"data_init": None}, "`data_init` must be true or false; received None."),
        (
            {"metric": "euclidean", "dropout": 0.1},
            '`dropout` must be from 0 to below 1, and 0 unless `metric` is "cosine"; '
            "received 0.1.",
        ),
        (
            {"metric": "euclidean", "quantize_after": 5},
            '`quantize_after` must be 0 unless `metric` is "cosine": the codebook starts '
            "at clusters by cosine; received quantize_after=5.",
        ),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError) as error:
        VectorQuantizer(6, L, **arguments)
    assert str(error.value) == message


def test_similarities_are_dropped_at_their_rate_and_only_with_a_key():
    quantizer = make_quantizer(num_codes=64, centered=False, dropout=0.3)
    latents, key = random_latents((8, 50, L)), np.arange(8, dtype="uint32")
    similarity = unit(latents) @ unit(np.array(quantizer.codebook)).T
    best = np.argmax(similarity, axis=-1)
    np.testing.assert_array_equal(quantizer(latents)["indices"], best)
    dropped = ops.convert_to_numpy(uniform(ops.convert_to_tensor(key), 50, 64)) < 0.3
    indices = ops.convert_to_numpy(quantizer(latents, key)["indices"])
    expected = np.argmax(np.where(dropped, 0, similarity), axis=-1)
    np.testing.assert_array_equal(indices, expected)
    assert abs(np.mean(indices != best) - 0.3) < 0.05


@pytest.mark.parametrize("unit_codes", ["always", "compared", "never"])
def test_codes_of_unit_length(unit_codes):
    quantizer = make_quantizer(centered=False, unit_codes=unit_codes)
    codebook = 1 + 3 * np.random.default_rng(0).random((quantizer.num_codes, 1))
    codebook = codebook * random_latents((quantizer.num_codes, L), seed=1)
    quantizer.codebook.assign(codebook)
    latents = random_latents((50, L))
    outputs = quantizer(latents)
    compared = codebook if unit_codes == "never" else unit(codebook)
    nearest = np.argmax(unit(latents) @ compared.T, axis=-1)
    np.testing.assert_array_equal(outputs["indices"], nearest)
    returned = unit(codebook) if unit_codes == "always" else codebook
    np.testing.assert_allclose(outputs["quantized"], returned[nearest], atol=1e-5)
    np.testing.assert_allclose(quantizer.lookup(nearest), returned[nearest], atol=1e-5)
