"""Scores shared by all models: quality of frames and usage of codes."""

from collections.abc import Mapping

import numpy as np

from genie_tf.metrics.codebook_usage import codebook_usage
from genie_tf.metrics.image_quality import psnr, ssim
from genie_tf.metrics.intervals import mean_confidence_interval


class PartEvaluator:
    """Base class of evaluators of a part, which accept any clip and draw nothing.

    Args:
        model: the part.
        sampling: ignored, since a part does not sample.
    """

    def __init__(self, model, sampling: Mapping | None = None):
        self.model = model

    def check(self, batch: Mapping) -> None:
        """Raise a ValueError unless a batch has what the model needs."""

    def draws(self, batch: Mapping, rng: np.random.Generator) -> dict:
        """Return the random draws for a batch."""
        return {}


def quality(target, prediction) -> dict:
    """Return PSNR in decibels and SSIM of each frame, (b, t); can be compiled."""
    return {"psnr": psnr(target, prediction), "ssim": ssim(target, prediction)}


def repeat_quality(video) -> dict:
    """Return the quality of each frame as a prediction of the next."""
    return quality(video[:, 1:], video[:, :-1])


def compare(rows: Mapping[str, Mapping]) -> dict:
    """Return means over the frames of each video, and distances from the ceiling.

    Args:
        rows: `quality` of each kind of video by name, possibly with a `ceiling`.
    """
    means = {
        name: {score: values.mean(axis=1) for score, values in row.items()}
        for name, row in rows.items()
    }
    compared = {
        name: {score: mean(values) for score, values in row.items()}
        for name, row in means.items()
    }
    if "ceiling" in means:
        for name in means.keys() - {"ceiling"}:
            gap = means["ceiling"]["psnr"] - means[name]["psnr"]
            compared[name]["psnr_below_ceiling"] = mean(gap)
    return compared


def usage(codes: np.ndarray, size: int) -> dict:
    """Return usage scores of `size` codes, and the count of each; -1 is no code."""
    codes = codes[codes >= 0]
    if not codes.size:
        scores = {"codes_used": 0, "usage": 0.0, "perplexity": 1.0, "entropy": 0.0}
        return {**scores, "counts": [0] * size}
    counts = np.bincount(codes.ravel(), minlength=size)
    return {**codebook_usage(codes, size), "counts": counts.tolist()}


def mean(values: np.ndarray) -> dict:
    """Return a mean over clips with its 95% confidence interval."""
    value, interval = mean_confidence_interval(values)
    return {"mean": value, "ci95": list(interval)}
