"""What an evaluation leaves behind: report.json, report.md and pictures."""

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import keras
import numpy as np

from genie_tf import media
from genie_tf.evaluation import PREDICTED_FRAMES
from genie_tf.samplers import Rollout


def write_report(folder: Path, report: dict) -> None:
    """Writes `report.json` and `report.md`."""
    texts = {"report.json": json.dumps(report, indent=1) + "\n"}
    texts["report.md"] = _markdown(report)
    for name, text in texts.items():
        with media.replacing(folder / name) as path:
            path.write_text(text)


def _markdown(report: dict) -> str:
    tokenizer, actions = report["tokenizer"], report["latent_actions"]
    dynamics = report["dynamics"]
    horizons = range(1, PREDICTED_FRAMES + 1)
    low, high = dynamics["delta_psnr_4"]["ci95"]
    rows = "\n".join(
        f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |"
        for name, values in (
            ("dynamics, inferred actions", dynamics["psnr"]),
            ("repeating the prompt", report["baselines"]["repeat_last_frame_psnr"]),
        )
    )
    return f"""# {report["dataset"]}, split {report["split"]}: {report["clips"]} clips

One prompt frame, {PREDICTED_FRAMES} predicted frames; sampling {report["sampling"]}.

| part | what | value |
|---|---|---|
| tokenizer | PSNR of reconstructions, dB | {tokenizer["psnr"]:.2f} |
| | SSIM of reconstructions | {tokenizer["ssim"]:.3f} |
| | codes used, perplexity | {tokenizer["codes_used"]}, {tokenizer["perplexity"]:.0f} |
| latent actions | PSNR of the next frame, dB | {actions.get("psnr", float("nan")):.2f} |
| | codes used, perplexity | {actions["codes_used"]}, {actions["perplexity"]:.2f} |
| | mutual information with true actions (NMI) | {actions.get("nmi", float("nan")):.3f} |
| dynamics | SSIM of predicted frames | {dynamics["ssim"]:.3f} |
| | top-1 accuracy at masked tokens | {dynamics["top1"]:.3f} |
| | dPSNR_4, dB, and its 95% interval | {dynamics["delta_psnr_4"]["mean"]:.2f} \
({low:.2f} to {high:.2f}) |

PSNR in dB by the number of frames after the prompt:

| | {" | ".join(map(str, horizons))} |
|---|{"---|" * PREDICTED_FRAMES}
{rows}
"""


def environment() -> dict:
    """The hardware and the versions that scores and times depend on."""
    packages = ("genie_tf", keras.config.backend(), "keras", "numpy")
    return {
        "hardware": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in packages},
        },
    }


def draw_pictures(folder: Path, rollout: Rollout, videos: Mapping) -> None:
    """Writes reconstructions.png, rollout.gif and prompt.png, of the first clips.

    Args:
        folder: where to write.
        rollout: of the Genie that was evaluated.
        videos: as `evaluate` returns them.
    """
    truth, prediction = videos["truth"][:4], videos["prediction"][:4]
    media.save_strip(folder / "prompt.png", truth[0, :1])
    media.save_image_grid(
        folder / "reconstructions.png",
        [videos["truth"][:8, -1], videos["reconstruction"][:8, -1]],
        ["truth", "reconstruction"],
        scale=2,
    )
    num_actions = rollout.genie.num_actions
    # All in one batch, which is compiled once: action 0 for each clip, action 1, ...
    actions = np.repeat(np.arange(num_actions), len(truth))[:, None]
    held = rollout.generate(
        np.tile(truth[:, :1], (num_actions, 1, 1, 1, 1)),
        np.tile(actions, PREDICTED_FRAMES),
    )
    held = np.split(np.asarray(held), num_actions)
    media.save_gif(
        folder / "rollout.gif",
        media.grid(
            [truth, prediction, *held],
            ["truth", "inferred actions", *(f"action {i}" for i in range(num_actions))],
            scale=2,
        ),
        fps=5,
    )
