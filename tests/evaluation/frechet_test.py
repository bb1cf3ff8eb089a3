"""Distances equal those computed here from the videos of an evaluation."""

import numpy as np
import pytest
import tensorflow as tf

from genie_tf.evaluation import evaluate, frechet
from genie_tf.testing.tiny_models import tiny_batch, tiny_genie


@pytest.fixture
def eager():
    """Eager mode, because compiling would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class FakeNetwork:
    """Network whose features are the mean color of each frame."""

    name, score_name = "colors", "FID of colors"

    def __call__(self, video):
        assert video.shape[1:] == (5, 16, 16, 3)
        scale = 255 if video.dtype == "uint8" else 1
        return (video / scale).mean(axis=(2, 3)).reshape(-1, 3)


def test_distances_are_from_true_future(eager, monkeypatch):
    def distance(a, b):
        return float(np.abs(a.mean(axis=0) - b.mean(axis=0)).sum())

    monkeypatch.setattr(frechet, "frechet_distance", distance)
    network = FakeNetwork()
    batches = (tiny_batch(step, batch=2, time=6) for step in range(2))
    scores, videos = evaluate(
        tiny_genie(), batches, 3, sampling={"num_steps": 1}, feature_networks=[network]
    )
    truth = videos["truth"][:, 1:]
    rows = {
        "prediction": videos["prediction"][:, 1:],
        "repeat_prompt": np.repeat(videos["truth"][:, :1], 5, axis=1),
        "repeat_reconstruction": np.repeat(videos["reconstruction"][:, :1], 5, axis=1),
        "ceiling": videos["reconstruction"][:, 1:],
    }
    assert scores["frechet"] == [
        {
            "network": "colors",
            "score": "FID of colors",
            **{
                name: pytest.approx(distance(network(truth), network(video)), abs=1e-5)
                for name, video in rows.items()
            },
        }
    ]
