import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.layers import FiniteScalarQuantizer, VectorQuantizer, make_quantizer
from genie_tf.testing.layer_test import run_layer_test

LEVELS = (3, 2, 5)


def random_latents(shape=(40, 25, 3)):
    return 2 * np.random.default_rng(0).normal(size=shape).astype("float32")


def test_layer():
    run_layer_test(
        FiniteScalarQuantizer,
        {"num_codes": 30, "code_dim": 3, "levels": LEVELS},
        (2, 4, 3),
        mixed_output_dtype="float32",
        mixed_tolerance=2.5,  # Rounding can change the level.
    )


def test_outputs_are_levels_and_all_codes_are_used():
    outputs = FiniteScalarQuantizer(30, 3, LEVELS)(random_latents())
    quantized = ops.convert_to_numpy(outputs["quantized"])
    for axis, values in enumerate(([-1, 0, 1], [-1, 1], [-1, -0.5, 0, 0.5, 1])):
        np.testing.assert_allclose(np.unique(quantized[..., axis].round(5)), values)
    assert set(np.unique(outputs["indices"])) == set(range(30))
    assert keras.backend.standardize_dtype(outputs["indices"].dtype) == "int32"
    assert float(outputs["loss"]) == 0


def test_quantization_is_monotonic_and_symmetric():
    quantizer = FiniteScalarQuantizer(12, 2, (3, 4))
    line = np.linspace(-4, 4, 200, dtype="float32")
    quantized = quantizer(np.stack([line, line], axis=1))["quantized"]
    steps = np.diff(ops.convert_to_numpy(quantized), axis=0)
    assert steps.min() >= 0
    np.testing.assert_array_equal(np.count_nonzero(steps, axis=0), [2, 3])
    np.testing.assert_allclose(quantized[::-1], -quantized, atol=1e-6)


def test_lookup_returns_quantized_outputs():
    quantizer = FiniteScalarQuantizer(30, 3, LEVELS)
    outputs = quantizer(random_latents())
    codes = quantizer.lookup(outputs["indices"])
    np.testing.assert_allclose(codes, outputs["quantized"], atol=1e-6)
    assert len(np.unique(quantizer.codes(), axis=0)) == 30


def test_gradient_is_straight_through():
    quantizer, latents = FiniteScalarQuantizer(30, 3, LEVELS), tf.constant([[0.3] * 3])
    with tf.GradientTape() as tape:
        tape.watch(latents)
        target = tf.reduce_sum(quantizer(latents)["quantized"])
    slope = 1.001 * (1 - np.tanh(0.3) ** 2)
    np.testing.assert_allclose(
        tape.gradient(target, latents)[0], [slope] * 3, rtol=1e-4
    )


def test_quantizer_has_no_weights_and_update_does_nothing():
    quantizer = FiniteScalarQuantizer(30, 3, LEVELS)
    assert not quantizer.weights
    outputs = quantizer(random_latents())
    quantizer.update(**quantizer.codebook_stats(outputs))
    assert len(np.unique(outputs["indices"])) == 30


@pytest.mark.parametrize("levels", [(), (6, 1), (2, 2), (6,), (1, 6)])
def test_levels_that_do_not_match_are_rejected(levels):
    with pytest.raises(ValueError) as error:
        FiniteScalarQuantizer(6, 2, levels)
    assert str(error.value) == (
        "`levels` must be code_dim=2 numbers, each 2 or more, whose product is "
        f"num_codes=6; received {levels}."
    )


def test_make_quantizer_chooses_class_by_name():
    assert isinstance(
        make_quantizer(6, 2, {"class_name": "FiniteScalarQuantizer", "levels": (3, 2)}),
        FiniteScalarQuantizer,
    )
    quantizer = make_quantizer(6, 2, {"ema": 0.5})
    assert isinstance(quantizer, VectorQuantizer) and quantizer.ema == 0.5
    assert isinstance(make_quantizer(6, 2), VectorQuantizer)
