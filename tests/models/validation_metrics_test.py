"""Metrics of validation, and of codebooks and tokens in each step."""

import numpy as np
import pytest

from genie_tf.metrics.image_quality import ssim
from genie_tf.testing.tiny_models import (
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)

BATCH = tiny_batch(0)
TOPS = (1, 2, 5, 16)
VIDEO = BATCH["video"]


def validation_metrics(model, batch=BATCH):
    metrics = model.validation_metrics(batch)
    return {name: float(value) for name, value in metrics.items()}


def test_tokenizer_has_ssim_of_reconstruction():
    tokenizer = tiny_tokenizer()
    expected = np.mean(ssim(VIDEO, tokenizer(VIDEO)["reconstruction"]))
    metrics = validation_metrics(tokenizer)
    assert metrics == {"ssim": pytest.approx(expected, rel=1e-5)}


def test_latent_action_model_has_ssim_of_predicted_frames():
    model = tiny_latent_action_model()
    expected = np.mean(ssim(VIDEO[:, 1:], model(VIDEO)["prediction"]))
    approx = pytest.approx(expected, rel=1e-5)
    assert validation_metrics(model) == {"ssim": approx}
    assert validation_metrics(tiny_genie()) == {"latent_action/ssim": approx}


def test_small_frames_have_no_ssim():
    model = tiny_latent_action_model(frame_shape=(8, 8, 3), patch_size=4)
    assert validation_metrics(model, {"video": VIDEO[:, :, :8, :8]}) == {}


def test_genie_logs_usage_and_accuracies():
    metrics, codebook_stats = (genie := tiny_genie()).losses_and_metrics(BATCH)
    metrics |= genie.codebook_metrics(codebook_stats)
    tops = [float(metrics[f"dynamics/top{k}"]) for k in TOPS]
    assert tops == sorted(tops)
    assert 0 < float(metrics["latent_action/usage"]) <= 1
    assert 0 <= float(metrics["latent_action/entropy"]) <= 1
