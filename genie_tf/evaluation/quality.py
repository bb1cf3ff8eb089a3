"""Scores shared by all models: quality of frames and usage of codes."""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.evaluation.protocol import DEFAULT_PROTOCOL, Protocol
from genie_tf.metrics.codebook_usage import codebook_usage
from genie_tf.metrics.image_quality import psnr, psnr_of_mean_error, ssim
from genie_tf.metrics.intervals import (
    jackknife_interval,
    mean_confidence_interval,
    median_interval,
)


class PartEvaluator:
    """Base class of evaluators of a part, which accept any clip and draw nothing.

    Args:
        model: the part.
        sampling: ignored, since a part does not sample.
        protocol: only its region matters.
    """

    def __init__(
        self,
        model,
        sampling: Mapping | None = None,
        protocol: Protocol = DEFAULT_PROTOCOL,
    ):
        self.model = model
        self.protocol = protocol

    def check(self, batch: Mapping) -> None:
        """Raise a ValueError unless a batch has what the model needs."""

    def draws(self, batch: Mapping, rng: np.random.Generator) -> dict:
        """Return the random draws for a batch."""
        return {}


def quality(target, prediction, ceiling=None) -> dict:
    """Return PSNR in decibels and SSIM of each frame, (b, t); can be compiled.

    Args:
        target, prediction: videos, see `psnr`.
        ceiling: PSNR of the tokenizer on the same frames, (b, t); adds `capped`, the
            smaller of the two.
    """
    scores = {"psnr": psnr(target, prediction), "ssim": ssim(target, prediction)}
    if ceiling is not None:
        scores["capped"] = ops.minimum(scores["psnr"], ceiling)
    return scores


def repeat_quality(video, reconstruction, ceiling) -> dict:
    """Return the quality of each frame, and its reconstruction, as the next frame."""
    future, ceiling = video[:, 1:], ceiling[:, 1:]
    return {
        "repeat": quality(future, video[:, :-1], ceiling),
        "repeat_reconstruction": quality(future, reconstruction[:, :-1], ceiling),
    }


def compare(rows: Mapping[str, Mapping]) -> dict:
    """Return the scores of each kind of video over all frames.

    Args:
        rows: `quality` of each kind of video by name.
    """
    return {
        name: {**psnr_scores(row), "ssim": mean(row["ssim"].mean(axis=1))}
        for name, row in rows.items()
    }


def psnr_scores(frames: Mapping[str, np.ndarray]) -> dict:
    """Return the PSNR of many frames in up to three forms, with 95% intervals.

    Args:
        frames: `psnr` of each frame, (clips, time), and `capped` if there is a
            tokenizer.
    """
    each = frames["psnr"]
    pooled = psnr_of_mean_error(each)
    errors = np.mean(10 ** (-each.astype("float64") / 10), axis=1)
    without_each = (errors.sum() - errors) / (len(errors) - 1)
    scores = {}
    if "capped" in frames:
        scores["psnr_capped"] = mean(frames["capped"].mean(axis=1))
    return scores | {
        "psnr_of_mean_error": {
            "value": pooled,
            "ci95": list(jackknife_interval(pooled, -10 * np.log10(without_each))),
        },
        "psnr_median": {
            "value": float(np.median(each)),
            "ci95": list(median_interval(each)),
        },
    }


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
