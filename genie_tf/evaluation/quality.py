"""What is measured of all models: quality of frames, and how codes are used."""

from collections.abc import Mapping

import numpy as np

from genie_tf.metrics.codebook_usage import codebook_usage
from genie_tf.metrics.image_quality import psnr, ssim
from genie_tf.metrics.intervals import mean_confidence_interval


class PartEvaluator:
    """What evaluators of a part by itself share: any clip will do, nothing is drawn.

    Args:
        model: what is measured.
        sampling: not used, as a part samples nothing.
    """

    def __init__(self, model, sampling: Mapping | None = None):
        self.model = model

    def check(self, batch: Mapping) -> None:
        """Raise a ValueError unless a batch has what the model needs."""

    def draws(self, batch: Mapping, rng: np.random.Generator) -> dict:
        """Return what is random about a batch."""
        return {}


def quality(target, made) -> dict:
    """Return PSNR in decibels and SSIM of each frame, (b, t), inside a program."""
    return {"psnr": psnr(target, made), "ssim": ssim(target, made)}


def quality_of_repeating(video) -> dict:
    """Return the quality of taking each frame for the next."""
    return quality(video[:, 1:], video[:, :-1])


def compare(rows: Mapping[str, Mapping]) -> dict:
    """Return means over the frames of each video, and distances from the ceiling.

    Args:
        rows: `quality` by the name of what was made, perhaps with a `ceiling`.
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
    """Return how many of `size` codes are used, and how often each."""
    counts = np.bincount(codes.ravel(), minlength=size)
    return {**codebook_usage(codes, size), "counts": counts.tolist()}


def mean(values: np.ndarray) -> dict:
    """Return a mean over clips with its 95% interval."""
    value, interval = mean_confidence_interval(values)
    return {"mean": value, "ci95": list(interval)}
