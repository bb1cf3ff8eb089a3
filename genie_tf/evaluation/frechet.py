"""Fréchet distances of predictions and baselines from the true future."""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.metrics.frechet_distance import frechet_distance


def video_features(network, videos: Mapping) -> dict:
    """Return features of the true future, prediction and baselines: (b, rows, width)."""
    prediction = ops.convert_to_numpy(videos["prediction"])[:, 1:]
    future = slice(1, 1 + prediction.shape[1])
    truth = videos["truth"][:, future]
    reconstruction = ops.convert_to_numpy(videos["reconstruction"])
    compared = {
        "truth": truth,
        "prediction": prediction,
        "repeat_prompt": np.broadcast_to(videos["truth"][:, :1], truth.shape),
        "repeat_reconstruction": np.broadcast_to(reconstruction[:, :1], truth.shape),
        "ceiling": reconstruction[:, future],
    }
    rows = {name: np.asarray(network(video)) for name, video in compared.items()}
    return {name: x.reshape(len(truth), -1, x.shape[-1]) for name, x in rows.items()}


def frechet_scores(network, features: Mapping) -> dict:
    """Return the distances of prediction and baselines from the true future."""
    rows = {name: x.reshape(-1, x.shape[-1]) for name, x in features.items()}
    truth = rows.pop("truth")
    distances = {name: frechet_distance(truth, x) for name, x in rows.items()}
    return {"network": network.name, "score": network.score_name, **distances}
