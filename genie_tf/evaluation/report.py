"""Reports of an evaluation: report.json and report.md."""

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import keras

from genie_tf.files import replacing

# Labels of `Dynamics.token_scores`.
_TOKEN_SCORES = {
    "cross_entropy": "cross-entropy at masked tokens, nats",
    **{f"top{k}": f"top-{k} accuracy" for k in (1, 2, 5, 16)},
    "shift_nats": "cross-entropy of the shift of a frame, nats",
    "mode_nats": "cross-entropy of the modes of a frame, nats",
    "code_nats": "cross-entropy of the codes of a drawn patch, nats",
}

ROW_NAMES = {
    "prediction": "prediction",
    "random_actions": "with random actions",
    "reconstruction": "reconstruction",
    "repeat": "repeating the last frame",
    "ceiling": "tokenizer's reconstruction (ceiling)",
}


def write_report(folder: Path, report: dict) -> None:
    """Write `report.json` and `report.md`.

    Args:
        folder: output folder.
        report: the scores of `evaluate`, with the settings and environment of the run.
    """
    texts = {"report.json": json.dumps(report, indent=1) + "\n"}
    texts["report.md"] = _markdown(report)
    for name, text in texts.items():
        with replacing(folder / name) as path:
            path.write_text(text)


def environment() -> dict:
    """Return the hardware and versions on which scores and times depend."""
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


def action_names(report: Mapping) -> list[str]:
    """Return the names of the true actions in a report's agreement, in its order."""
    numbers = report["latent_actions"]["agreement"]["true_actions"]
    names = report["action_names"]
    return [names[number] if names else str(number) for number in numbers]


def format_interval(mean: Mapping, digits: int) -> str:
    """Return a mean with its 95% interval, such as "1.23 (1.11 to 1.35)".

    Args:
        mean: `mean` and `ci95` from a report.
        digits: number of decimals.
    """
    low, high = mean["ci95"]
    return f"{mean['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _markdown(report: Mapping) -> str:
    sections = [_heading(report)]
    for part, write in (
        ("tokenizer", _tokenizer),
        ("latent_actions", _latent_actions),
        ("dynamics", _dynamics),
        ("frechet", _frechet),
    ):
        if part in report:
            sections += write(report)
    return "\n\n".join(sections) + "\n"


def _heading(report: Mapping) -> str:
    seconds = report["seconds"]["evaluation"]
    settings = {
        "model": f"{report['model']}, {report['preset']}",
        "frames per clip": report["frames"],
        "steps between frames": report["stride"],
        "seed": report["seed"],
    }
    if "dynamics" in report:
        settings |= {
            "prompt frames": report["dynamics"]["prompt_frames"],
            "predicted frames": report["dynamics"]["predicted_frames"],
            "sampling": ", ".join(
                f"{name} {value}" for name, value in report["sampling"].items()
            ),
        }
    hardware = report["hardware"]
    settings |= {
        "hardware": f"{hardware['processor']}, {hardware['cores']} cores",
        "versions": ", ".join(f"{k} {v}" for k, v in report["versions"].items()),
        "duration, seconds": f"{seconds:.0f}",
    }
    return "\n\n".join(
        [
            f"# {report['dataset']}, split {report['split']}: {report['clips']} clips",
            _table(["", ""], [[name, str(text)] for name, text in settings.items()]),
            "Each mean is followed by its 95% confidence interval over clips.",
        ]
    )


def _tokenizer(report: Mapping) -> list[str]:
    scores = report["tokenizer"]
    return ["## Tokenizer", _videos(scores["videos"]), _codes(scores)]


def _latent_actions(report: Mapping) -> list[str]:
    scores = report["latent_actions"]
    sections = ["## Latent actions", _codes(scores)]
    if "videos" in scores:
        sections[1:1] = ["Prediction of the next frame from the true previous frames:"]
        sections[2:2] = [_videos(scores["videos"])]
    if "agreement" not in scores:
        return [*sections, "The dataset has no actions to compare with."]
    agreement = scores["agreement"]
    measures = {
        "normalized mutual information (NMI)": agreement["nmi"],
        "accuracy under the best assignment": agreement["accuracy"],
    }
    names = action_names(report)
    return [
        *sections,
        "Agreement with true actions, with a jackknife interval over clips:",
        _table(
            ["", "value", "shuffled, mean", "shuffled, 95% quantile"],
            [
                [
                    name,
                    format_interval({"mean": score["value"], **score}, 3),
                    f"{score['shuffled']['mean']:.3f}",
                    f"{score['shuffled']['quantile95']:.3f}",
                ]
                for name, score in measures.items()
            ],
        ),
        _table(
            ["true action", "share", "most frequent", "assigned", "recall"],
            [
                [
                    name,
                    f"{group['share']:.3f}",
                    str(group["most_frequent"]),
                    "none" if group["assigned"] is None else str(group["assigned"]),
                    f"{group['recall']:.3f}",
                ]
                for name, group in zip(names, agreement["groups"], strict=True)
            ],
        ),
    ]


def _dynamics(report: Mapping) -> list[str]:
    scores = report["dynamics"]
    frames = range(1, scores["predicted_frames"] + 1)
    horizons = [
        [ROW_NAMES[name], *(f"{mean['mean']:.1f}" for mean in row["psnr"])]
        for name, row in scores["horizons"].items()
    ]
    return [
        "## Dynamics",
        _table(
            ["", "mean"],
            [
                ["dPSNR_4, dB", format_interval(scores["delta_psnr_4"], 2)],
                *(
                    [label, format_interval(scores[name], 3)]
                    for name, label in _TOKEN_SCORES.items()
                    if name in scores
                ),
            ],
        ),
        f"Rollouts of {len(frames)} frames after one prompt frame, with "
        f"{'true' if report['model'] == 'GuidedGenie' else 'inferred'} actions:",
        _videos(scores["videos"]),
        "PSNR in dB by the number of frames after the prompt:",
        _table(
            ["", *map(str, frames)],
            [row + [""] * (1 + len(frames) - len(row)) for row in horizons],
        ),
    ]


def _frechet(report: Mapping) -> list[str]:
    rows = ("prediction", "repeat", "ceiling")
    return [
        "## Fréchet distances of the predicted frames",
        _table(
            ["", *(ROW_NAMES[name] for name in rows)],
            [
                [
                    f"{scores['score']}, {scores['network']}",
                    *(f"{scores[name]:.1f}" for name in rows),
                ]
                for scores in report["frechet"]
            ],
        ),
    ]


def _videos(videos: Mapping) -> str:
    """Return the table of a comparison."""
    has_ceiling = "ceiling" in videos
    rows = [
        [
            ROW_NAMES[name],
            format_interval(row["psnr"], 2),
            format_interval(row["ssim"], 3),
            *(
                [format_interval(row["psnr_below_ceiling"], 2)]
                if "psnr_below_ceiling" in row
                else [""] * has_ceiling
            ),
        ]
        for name, row in videos.items()
    ]
    return _table(
        ["", "PSNR, dB", "SSIM", *["below the ceiling, dB"] * has_ceiling], rows
    )


def _codes(scores: Mapping) -> str:
    return (
        f"Codes used: {scores['codes_used']} of {len(scores['counts'])} "
        f"({scores['usage']:.1%}); perplexity {scores['perplexity']:.1f}; entropy "
        f"{scores['entropy']:.3f} of the maximum."
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
