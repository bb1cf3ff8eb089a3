"""What is measured of all models: quality of frames, and how codes are used."""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.metrics.codebook_usage import codebook_usage
from genie_tf.metrics.image_quality import psnr, psnr_of_mean_error, ssim
from genie_tf.metrics.intervals import (
    jackknife_interval,
    mean_confidence_interval,
    median_interval,
)


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


def quality(target, made, ceiling=None) -> dict:
    """Return PSNR in decibels and SSIM of each frame, (b, t), inside a program.

    Args:
        target, made: videos, see `psnr`.
        ceiling: the tokenizer's PSNR on the same frames, (b, t); adds `capped`, PSNR of
            at most that much.
    """
    scores = {"psnr": psnr(target, made), "ssim": ssim(target, made)}
    if ceiling is not None:
        scores["capped"] = ops.minimum(scores["psnr"], ceiling)
    return scores


def quality_of_repeating(video, reconstruction, ceiling) -> dict:
    """Return the quality of taking each frame, or its reconstruction, for the next."""
    return {
        "repeat": quality(video[:, 1:], video[:, :-1], ceiling[:, 1:]),
        "repeat_reconstruction": quality(
            video[:, 1:], reconstruction[:, :-1], ceiling[:, 1:]
        ),
    }


def compare(rows: Mapping[str, Mapping]) -> dict:
    """Return the scores of all frames by the name of what was made.

    Args:
        rows: `quality` by that name.
    """
    return {
        name: {**psnr_scores(row), "ssim": mean(row["ssim"].mean(axis=1))}
        for name, row in rows.items()
    }


def psnr_scores(frames: Mapping[str, np.ndarray]) -> dict:
    """Return the PSNR of many frames in up to three forms, with 95% intervals.

    Args:
        frames: `psnr` of each frame, (clips, time), and `capped`, if there is a
            tokenizer.
    """
    each = frames["psnr"]
    pooled, median = psnr_of_mean_error(each), float(np.median(each))
    errors = np.mean(10 ** (-each.astype("float64") / 10), axis=1)
    others = (errors.sum() - errors) / (len(errors) - 1)
    scores = {}
    if "capped" in frames:
        scores["psnr_capped"] = mean(frames["capped"].mean(axis=1))
    return scores | {
        "psnr_of_mean_error": {
            "value": pooled,
            "ci95": list(jackknife_interval(pooled, -10 * np.log10(others))),
        },
        "psnr_median": {
            "value": median,
            "ci95": list(median_interval(each)),
        },
    }


def usage(codes: np.ndarray, size: int) -> dict:
    """Return how many of `size` codes are used, and how often each."""
    counts = np.bincount(codes.ravel(), minlength=size)
    return {**codebook_usage(codes, size), "counts": counts.tolist()}


def mean(values: np.ndarray) -> dict:
    """Return a mean over clips with its 95% interval."""
    value, interval = mean_confidence_interval(values)
    return {"mean": value, "ci95": list(interval)}
