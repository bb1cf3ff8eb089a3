"""Fréchet distances of a model's frames and baselines from true frames."""

from collections.abc import Mapping

import numpy as np

from genie_tf.metrics.frechet_distance import frechet_distance


def video_features(network, compared: Mapping) -> dict:
    """Return features of each kind of video, (b, rows, width).

    Args:
        network: see `evaluate`.
        compared: videos by name, with "truth"; see `compared` of the evaluators.
    """
    clips = len(compared["truth"])
    rows = {name: np.asarray(network(video)) for name, video in compared.items()}
    return {name: x.reshape(clips, -1, x.shape[-1]) for name, x in rows.items()}


def frechet_scores(network, features: Mapping) -> dict:
    """Return the distances of the other videos from the true ones."""
    rows = {name: x.reshape(-1, x.shape[-1]) for name, x in features.items()}
    truth = rows.pop("truth")
    distances = {name: frechet_distance(truth, x) for name, x in rows.items()}
    return {"network": network.name, "score": network.score_name, **distances}
