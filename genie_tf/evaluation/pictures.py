"""Images, GIFs and plots of an evaluation."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from genie_tf import media
from genie_tf.evaluation.report import (
    DELTA_PSNR_NAMES,
    LONG_PLAY_NAMES,
    PSNR_NAMES,
    ROW_NAMES,
    action_names,
    point_estimate,
)
from genie_tf.files import replacing


def draw_pictures(folder: Path, report: Mapping, videos: Mapping) -> list[str]:
    """Draw all images and plots for the model of a report.

    Args:
        folder: output folder.
        report: see `write_report`.
        videos: videos of the first clips, (clips, time, height, width, 3): "truth", and
            the model's "reconstruction", "next_frames", "prediction"; for a world also
            "action_grid", (clips, actions, time, height, width, 3), see `hold_actions`;
            and for long play "long_play", see `study_horizon`.

    Returns:
        The names of the files.
    """
    media.save_strip(folder / "prompt.png", videos["truth"][0, :1])
    last = {
        name: videos[name][:, -1]
        for name in ("truth", "reconstruction", "next_frames")
        if name in videos
    }
    media.save_image_grid(
        folder / "reconstructions.png", list(last.values()), list(last), scale=2
    )
    drawn = ["prompt.png", "reconstructions.png", "code_usage.png"]
    _draw_code_usage(folder / "code_usage.png", report)
    if "agreement" in report.get("latent_actions", {}):
        drawn.append("confusion.png")
        _draw_confusion(folder / "confusion.png", report)
    if "dynamics" in report:
        drawn += ["rollout.gif", "action_grid.gif", "action_grid.png"]
        drawn += ["horizon.png", "delta_psnr.png"]
        _draw_rollout(folder / "rollout.gif", videos)
        _draw_action_grid(folder, videos["action_grid"])
        _draw_horizon(folder / "horizon.png", report["dynamics"]["horizons"])
        _draw_delta_psnr(folder / "delta_psnr.png", report["dynamics"]["delta_psnr"])
    if "long_play" in report:
        drawn += ["long_play.gif", "long_play.png"]
        _draw_long_play(folder, report["long_play"], videos["long_play"])
    return drawn


def _draw_rollout(path: Path, videos: Mapping) -> None:
    prediction = videos["prediction"][:4]
    rows = {
        "truth": videos["truth"][:4, : prediction.shape[1]],
        "reconstruction": videos["reconstruction"][:4, : prediction.shape[1]],
        "prediction": prediction,
    }
    media.save_gif(path, media.grid(list(rows.values()), list(rows), scale=2), fps=5)


def _draw_action_grid(folder: Path, videos: np.ndarray) -> None:
    """Draw a row per prompt: the prompt, then each action held (Genie, figure 12)."""
    prompts = np.broadcast_to(videos[:, :1, :1], (len(videos), 1, *videos.shape[2:]))
    rows = list(np.concatenate([prompts, videos], axis=1))
    columns = ["prompt", *map(str, range(videos.shape[1]))]
    video = media.grid(rows, scale=2, columns=columns)
    media.save_gif(folder / "action_grid.gif", video, fps=5)
    media.save_image_grid(
        folder / "action_grid.png", [row[:, -1] for row in rows], None, 2, columns
    )


def _draw_horizon(path: Path, horizons: Mapping) -> None:
    with _plot(path, "frames after the prompt", "PSNR, dB", len(PSNR_NAMES)) as several:
        for axes, (form, title) in zip(several, PSNR_NAMES.items(), strict=True):
            axes.set_title(title, fontsize="medium")
            for name, row in horizons.items():
                _draw_line(axes, [x[form] for x in row], ROW_NAMES[name])
            axes.grid(alpha=0.3)
        axes.legend(fontsize="small")


def _draw_delta_psnr(path: Path, deltas: Mapping) -> None:
    with _plot(path, "t, frames after the prompt", "dPSNR_t, dB") as axes:
        for name, label in DELTA_PSNR_NAMES.items():
            _draw_line(axes, deltas[name], label)
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")


def _draw_line(axes, scores: list[Mapping], label: str, x=None) -> None:
    """Draw scores with their 95% intervals, at 1, 2, ... or `x`."""
    low, high = zip(*(score["ci95"] for score in scores), strict=True)
    x = x or range(1, len(scores) + 1)
    axes.plot(x, [point_estimate(score) for score in scores], marker=".", label=label)
    axes.fill_between(x, low, high, alpha=0.2)


def _draw_long_play(folder: Path, scores: Mapping, videos: Mapping) -> None:
    """Draw plays below real clips, at most 100 frames, and ratios by age."""
    step = -(-videos["play"].shape[1] // 100)
    rows = [list(video[:, ::step]) for video in videos.values()]
    media.save_gif(
        folder / "long_play.gif", media.grid(rows, list(videos), scale=2), fps=10
    )
    with _plot(
        folder / "long_play.png", "frame of play", "played / real", 2
    ) as several:
        for name, title in LONG_PLAY_NAMES.items():
            axes = several[1 if name == "stripes" else 0]  # Its ratios are much larger.
            _draw_line(axes, scores[name], title, scores["ages"])
        for axes in several:
            axes.axhline(1, color="gray", linewidth=0.8)
            axes.set_xscale("log")
            axes.set_xticks(scores["ages"], scores["ages"])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")


def _draw_confusion(path: Path, report: Mapping) -> None:
    counts = np.array(report["latent_actions"]["agreement"]["confusion"])
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    with _plot(path, "true action", "latent action") as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        names = action_names(report)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(counts)))
        axes.set_title("share of each true action, and counts", fontsize="medium")
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, count, ha="center", va="center", color=color, fontsize=7
            )


def _draw_code_usage(path: Path, report: Mapping) -> None:
    parts = [part for part in ("tokenizer", "latent_actions") if part in report]
    with _plot(path, "code, by how often it occurs", "count", len(parts)) as several:
        for axes, part in zip(np.atleast_1d(several), parts, strict=True):
            counts = sorted(report[part]["counts"], reverse=True)
            axes.bar(range(len(counts)), counts, width=1)
            axes.set_title(part.replace("_", " "), fontsize="medium")


@contextlib.contextmanager
def _plot(path: Path, x: str, y: str, columns: int = 1) -> Iterator:
    """Yield the axes of a figure, one per column, to draw on."""
    from matplotlib.figure import Figure  # pyplot has global state.

    figure = Figure(figsize=(5 * columns, 3.6), layout="constrained")
    several = figure.subplots(1, columns)
    for axes in np.atleast_1d(several):
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    yield several
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
