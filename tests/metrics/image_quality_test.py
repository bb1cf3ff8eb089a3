import keras
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from genie_tf.metrics.image_quality import psnr, psnr_of_mean_error, ssim


def random_frames(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def structured_frames():
    """Return frames with flat areas, edges and gradients."""
    y, x = np.mgrid[0:48, 0:64] / 64
    ramp = np.stack([x, y, 1 - x], axis=-1)
    board = np.repeat(((8 * x).astype(int) + (8 * y).astype(int))[..., None] % 2, 3, -1)
    flat = np.full((48, 64, 3), 0.9)
    return np.stack([ramp, board, flat]).astype("float32")


PAIRS = {
    "unrelated": (random_frames(3, 32, 40, 3), random_frames(3, 32, 40, 3, seed=1)),
    "noisy": (
        structured_frames(),
        structured_frames() + 0.05 * random_frames(3, 48, 64, 3),
    ),
    "shifted": (structured_frames(), np.roll(structured_frames(), 1, axis=2)),
    "nearly flat": (
        np.full((1, 16, 16, 3), 0.99, "float32"),
        np.full((1, 16, 16, 3), 0.99, "float32") - 0.01 * random_frames(1, 16, 16, 3),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_equals_scikit_image(name):
    target, prediction = (np.clip(frames, 0, 1) for frames in PAIRS[name])
    with np.errstate(divide="ignore"):  # Equal frames score infinity, and 100 dB here.
        expected = [
            min(peak_signal_noise_ratio(x, y, data_range=1), 100)
            for x, y in zip(target.astype("float64"), prediction.astype("float64"))
        ]
    np.testing.assert_allclose(psnr(target, prediction), expected, rtol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_equals_scikit_image(name):
    target, prediction = (np.clip(frames, 0, 1) for frames in PAIRS[name])
    expected = [
        structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        for x, y in zip(target.astype("float64"), prediction.astype("float64"))
    ]
    np.testing.assert_allclose(ssim(target, prediction), expected, atol=2e-5)


def test_psnr_of_constant_error():
    target = np.full((2, 3, 8, 8, 3), 0.5, "float32")
    # An error of 0.1 everywhere is an MSE of 0.01: 20 dB.
    np.testing.assert_allclose(psnr(target, target + 0.1), np.full((2, 3), 20), 1e-5)


def test_psnr_averages_decibels_not_errors():
    target = np.zeros((2, 8, 8, 3), "float32")
    prediction = np.stack([np.full((8, 8, 3), error) for error in (0.1, 0.001)])
    np.testing.assert_allclose(psnr(target, prediction), [20, 60], rtol=1e-5)
    assert keras.ops.psnr(target, prediction.astype("float32"), 1.0) < 24


def test_equal_frames_score_100_decibels_and_ssim_1():
    frames = random_frames(2, 16, 16, 3)
    np.testing.assert_allclose(psnr(frames, frames), [100, 100], rtol=1e-6)
    np.testing.assert_allclose(ssim(frames, frames), [1, 1], rtol=1e-6)


def test_ssim_of_flat_frames_is_luminance_term():
    # Without variance, the structure term is 1.
    x, y = 0.2, 0.8
    expected = (2 * x * y + 1e-4) / (x**2 + y**2 + 1e-4)
    frames = np.ones((1, 16, 16, 3), "float32")
    np.testing.assert_allclose(ssim(x * frames, y * frames), [expected], rtol=1e-4)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bytes_score_like_unit_range(metric):
    target = (255 * random_frames(2, 3, 16, 16, 3)).astype("uint8")
    prediction = random_frames(2, 3, 16, 16, 3, seed=1)
    score = metric(target, prediction)
    assert tuple(score.shape) == (2, 3)
    unit_range = target.astype("float32") / 255
    np.testing.assert_allclose(score, metric(unit_range, prediction), rtol=1e-6)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_values_are_clipped(metric):
    target, prediction = random_frames(1, 16, 16, 3), 3 * random_frames(1, 16, 16, 3)
    np.testing.assert_allclose(
        metric(target, prediction - 1), metric(target, np.clip(prediction - 1, 0, 1))
    )


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_half_precision_is_computed_in_float32(metric):
    target = random_frames(1, 16, 16, 3)
    prediction = keras.ops.cast(target, "bfloat16")
    score = metric(target, prediction)
    assert keras.backend.standardize_dtype(score.dtype) == "float32"
    np.testing.assert_allclose(
        score, metric(target, keras.ops.cast(prediction, "float32"))
    )


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metric_can_be_compiled(metric):
    target, prediction = random_frames(2, 16, 16, 3), random_frames(2, 16, 16, 3)
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(metric)
    else:
        import tensorflow as tf

        # Traced with unknown batch size.
        compiled = tf.function(
            metric, input_signature=[tf.TensorSpec((None, 16, 16, 3))] * 2
        )
    np.testing.assert_allclose(
        compiled(target, prediction), metric(target, prediction), rtol=1e-5
    )


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bad_input_is_rejected(metric):
    frames = random_frames(2, 16, 16, 3)
    with pytest.raises(ValueError, match=r"\(2, 16, 16, 3\) and \(1, 16, 16, 3\)"):
        metric(frames, frames[:1])
    with pytest.raises(ValueError, match=r"\(2, 16, 16, 3\) and \(16, 16, 3\)"):
        metric(frames, frames[0])
    with pytest.raises(ValueError, match="uint8, or float .* received dtype int32"):
        metric(frames.astype("int32"), frames)


def test_ssim_rejects_frames_smaller_than_its_window():
    with pytest.raises(ValueError, match=r"at least 11x11 .* \(1, 10, 64, 3\)"):
        ssim(random_frames(1, 10, 64, 3), random_frames(1, 10, 64, 3))


def test_psnr_of_mean_error_equals_scikit_image_on_all_frames():
    target, prediction = random_frames(2, 4, 16, 16, 3), random_frames(2, 4, 16, 16, 3)
    prediction = target + np.linspace(0, 0.2, 8).reshape(2, 4, 1, 1, 1) * prediction
    expected = peak_signal_noise_ratio(target, np.clip(prediction, 0, 1), data_range=1)
    assert psnr_of_mean_error(psnr(target, prediction)) == pytest.approx(expected, 1e-5)


def test_psnr_of_mean_error_gains_nothing_from_exact_copies():
    assert psnr_of_mean_error([100, 20]) == pytest.approx(20 + 10 * np.log10(2), 1e-6)
