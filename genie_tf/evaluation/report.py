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
    "last_action": "with another last action",
    "reconstruction": "reconstruction",
    "repeat": "repeating the last frame",
    "repeat_prompt": "repeating the prompt",
    "repeat_reconstruction": "repeating its reconstruction",
    "ceiling": "tokenizer's reconstruction (ceiling)",
}
DELTA_PSNR_NAMES = {
    "random_actions": "Genie: all actions random",
    "last_action": "GenieRedux: last action replaced",
}
PSNR_NAMES = {
    "psnr_capped": "PSNR, capped",
    "psnr_of_mean_error": "PSNR of the mean squared error",
    "psnr_median": "PSNR, median",
}
LONG_PLAY_NAMES = {
    "sharpness": "sharpness (mean gradient)",
    "detail": "detail (8x8 patches that are not flat)",
    "stripes": "stripes (8x8 patches with one direction)",
    "spread": "spread (distance between plays)",
}
_PROBE_NAMES = {  # Frames and actions that are compared.
    "real": ("real", "true"),
    "real_assigned": ("real", "assigned to the latent action"),
    "generated": ("predicted", "assigned to the latent action"),
    "generated_given": ("predicted", "given"),
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


def point_estimate(score: Mapping) -> float:
    """Return the `mean` of a score, or the `value` of one that is not a mean."""
    return score["mean"] if "mean" in score else score["value"]


def format_interval(score: Mapping, digits: int) -> str:
    """Return a score with its 95% interval, such as "1.23 (1.11 to 1.35)".

    Args:
        score: `mean` or `value`, and `ci95`, from a report.
        digits: number of decimals.
    """
    low, high = score["ci95"]
    return f"{point_estimate(score):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _markdown(report: Mapping) -> str:
    sections = [_heading(report)]
    for part, write in (
        ("tokenizer", _tokenizer),
        ("latent_actions", _latent_actions),
        ("dynamics", _dynamics),
        ("frechet", _frechet),
        ("action_probe", _action_probe),
        ("long_play", _long_play),
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
    if report.get("black_region"):
        settings["black region"] = "{} rows, {} columns from row {}, column {}".format(
            *report["black_region"][2:], *report["black_region"][:2]
        )
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
                    format_interval(score, 3),
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
    return [
        "## Dynamics",
        _table(
            ["", "mean"],
            [
                [label, format_interval(scores[name], digits)]
                for name, label, digits in (
                    ("delta_psnr_4", "dPSNR_4, dB", 2),
                    *((name, label, 3) for name, label in _TOKEN_SCORES.items()),
                )
                if name in scores
            ],
        ),
        f"Rollouts of {len(frames)} frames after {scores['prompt_frames']} prompt "
        f"frame{'s' if scores['prompt_frames'] > 1 else ''}, with "
        f"{'true' if report['model'] == 'GuidedGenie' else 'inferred'} actions:",
        _videos(scores["videos"]),
        _table(
            ["dPSNR_t, dB, by t", *DELTA_PSNR_NAMES.values()],
            [
                [
                    str(t),
                    *(
                        format_interval(scores["delta_psnr"][name][t - 1], 2)
                        for name in DELTA_PSNR_NAMES
                    ),
                ]
                for t in frames
            ],
        ),
        *(
            _table(
                [f"{title}, by frame, dB", *map(str, frames)],
                [
                    [
                        ROW_NAMES[name],
                        *(f"{point_estimate(x[form]):.1f}" for x in row),
                    ]
                    for name, row in scores["horizons"].items()
                ],
            )
            for form, title in PSNR_NAMES.items()
        ),
    ]


def _frechet(report: Mapping) -> list[str]:
    rows = [name for name in ROW_NAMES if name in report["frechet"][0]]
    return [
        "## Fréchet distances from the true frames",
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


def _action_probe(report: Mapping) -> list[str]:
    scores = report["action_probe"]
    return [
        "## Action probe",
        f"How often {scores['probe']} names the action between two frames:",
        _table(
            ["frames", "action", "accuracy", "most frequent action"],
            [
                [
                    *_PROBE_NAMES[name],
                    format_interval(row["accuracy"], 3),
                    f"{row['majority']:.3f}",
                ]
                for name, row in scores["rows"].items()
            ],
        ),
    ]


def _long_play(report: Mapping) -> list[str]:
    scores = report["long_play"]
    ages = scores["ages"]
    sections = [
        "## Long play",
        f"{scores['plays']} plays from one frame each, with random actions held for five "
        "frames on average. Ratios to real frames of the same age:",
        _table(
            ["frame of play", *LONG_PLAY_NAMES.values()],
            [
                [
                    str(age),
                    *(format_interval(scores[name][i], 2) for name in LONG_PLAY_NAMES),
                ]
                for i, age in enumerate(ages)
            ],
        ),
    ]
    if "frechet" in scores:
        windows = scores["frechet"][0]["windows"]
        sections += [
            "Fréchet distances from real frames of the same age:",
            _table(
                ["", *(f"frames {first} to {last}" for first, last in windows)],
                [
                    [row["score"], *(f"{x:.1f}" for x in row["distances"])]
                    for row in scores["frechet"]
                ],
            ),
        ]
    return [
        *sections,
        "Pixels by which the image moves down and to the right while an action is held "
        "for five frames, from the frame of play named: median over plays, and share of "
        "plays with the direction of frame 1:",
        _table(
            ["action", *(f"frame {age}" for age in ages)],
            [
                [
                    str(action),
                    *(
                        f"{round(down)}, {round(right)} ({share:.0%})"
                        for (down, right), share in zip(
                            row["shift"], row["same_direction"], strict=True
                        )
                    ),
                ]
                for action, row in enumerate(scores["actions"])
            ],
        ),
    ]


def _videos(videos: Mapping) -> str:
    """Return the table of a comparison."""
    any_row = next(iter(videos.values()))
    forms = [form for form in PSNR_NAMES if form in any_row]
    rows = [
        [
            ROW_NAMES[name],
            *(format_interval(row[form], 2) for form in forms),
            format_interval(row["ssim"], 3),
        ]
        for name, row in videos.items()
    ]
    return _table(["", *(f"{PSNR_NAMES[form]}, dB" for form in forms), "SSIM"], rows)


def _codes(scores: Mapping) -> str:
    return (
        f"Codes used: {scores['codes_used']} of {len(scores['counts'])} "
        f"({scores['usage']:.1%}); perplexity {scores['perplexity']:.1f}; entropy "
        f"{scores['entropy']:.3f} of the maximum."
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
