"""Records the settings, data and commands of a training run.

In a workdir, `config.json` has the settings of the last command, and `history.json` a list
of phases: `from_step`, the number of steps done before; `settings`; `inputs`, which
identify data and trained parts; and `command`. Workdirs of earlier versions have only
`config.json`.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from genie_tf.datasets.episodes import Episodes
from genie_tf.datasets.mixture import parse_mixture
from genie_tf.files import local_path, replacing
from genie_tf.training.checkpoints import flatten

# Settings that may change from one command to the next.
_FREE = (
    # The length of the run. Settings that follow from it keep their share of the steps.
    *("steps", "frames"),
    # What is written, and when.
    *("log_every", "evaluate_every", "checkpoint_every"),
    *("keep_last", "keep_every", "keep_best", "best_is"),
    # How the same results are computed.
    *("steps_per_call", "accumulate", "remat"),
    # Checkpoints compare the models themselves.
    *("model", "latent_action_model", "dynamics"),
)
# Phases record these in more detail as `inputs`.
_INPUTS = ("dataset", "tokenizer", "action_model")
# Frames per clip in the checksum of a dataset.
_SAMPLE = 16


def describe_data(dataset: str, open_split: Callable[[str], Episodes]) -> dict:
    """Return a description that distinguishes training splits of the same name.

    Args:
        dataset: name or folder of a dataset, or a mixture.
        open_split: function that returns the episodes of a dataset, by its name. Three
            of them are read.
    """
    weights = parse_mixture(dataset)
    if not weights:
        return _describe_split(dataset, open_split(dataset))
    return {
        f"{name} of part {number}": value
        for number, (part, weight) in enumerate(weights.items(), 1)
        for name, value in {
            "weight": weight,
            **_describe_split(part, open_split(part)),
        }.items()
    }


def _describe_split(dataset: str, episodes: Episodes) -> dict:
    folder = local_path(dataset)
    lengths = episodes.lengths
    sha = hashlib.sha256(np.ascontiguousarray(lengths))
    numbers = np.flatnonzero(lengths)
    for episode in numbers[[0, len(numbers) // 2, -1]]:
        length = min(_SAMPLE, lengths[episode])
        clip = episodes.read_clips([np.array([episode, 0])], length)
        for name in sorted(clip):
            sha.update(np.ascontiguousarray(clip[name]))
    return {
        "dataset": str(folder.resolve()) if folder.is_dir() else dataset,
        "number of training episodes": len(lengths),
        "number of training frames": int(lengths.sum()),
        "checksum of some training clips": sha.hexdigest()[:16],
    }


def check_changes(workdir: Path, settings: dict, inputs: dict, steps_done: int) -> None:
    """Check that settings and data are those of the steps done so far.

    Args:
        workdir: of a run with a checkpoint.
        settings, inputs: settings and inputs of the next steps.
        steps_done: number of steps done.

    Raises:
        ValueError: if they differ, or the earlier ones are unknown.
    """
    phases = _read(workdir)
    # A command with --allow_change might not have completed a step.
    allowed = [phases[-1], *_before(phases, steps_done)[-1:]]
    changes = [_changes(phase, _phase(0, settings, inputs)) for phase in allowed]
    if all(changes):
        named = "; ".join(f"{x} was {old}, is {new}" for x, old, new in changes[0])
        raise ValueError(
            f"The {steps_done} steps in {workdir} were trained with other settings: "
            f"{named}. Use the earlier settings, choose another --workdir, or continue "
            "with --allow_change, which is recorded."
        )


def record(
    workdir: Path, settings: dict, inputs: dict, command: str, start: int
) -> list[dict]:
    """Record the settings, inputs and command of the steps from `start` on, if any.

    Returns:
        All phases with at least one step.
    """
    phase = _phase(start, settings, inputs, command)
    try:
        phases = _before(_read(workdir), start) if start else []
    except ValueError as error:
        logging.warning("%s", error)
        phases = [_phase(0, {}, {})]
    if phases and not _changes(phases[-1], phase) and _same_past(phases[-1], phase):
        phase["from_step"] = phases.pop()["from_step"]
    elif start == settings["steps"]:
        return phases
    phases.append(phase)
    with replacing(workdir / "history.json") as path:
        path.write_text(json.dumps(phases, indent=1))
    with replacing(workdir / "config.json") as path:
        path.write_text(json.dumps(phase["settings"], indent=1))
    return phases


def describe_phases(phases: list[dict], steps: int) -> list[dict]:
    """Return the steps of each phase, its command, and the settings that differ.

    Args:
        phases: see `record`.
        steps: number of steps of the run.
    """
    ends = [*(phase["from_step"] for phase in phases[1:]), steps]
    known = [_describe(phase) for phase in phases]
    different = [
        name
        for name in known[-1]
        if any(x and x.get(name) != known[-1][name] for x in known)
    ]
    return [
        {
            "steps": f"{phase['from_step'] + 1:,} to {end:,}",
            **(
                {name: settings.get(name, "unknown") for name in different}
                if settings
                else {"settings": "unknown"}
            ),
            "command": phase["command"],
        }
        for phase, end, settings in zip(phases, ends, known, strict=True)
    ]


def _describe(phase: dict) -> dict:
    """Return the inputs and settings of a phase; {} if unknown."""
    if not phase["settings"]:
        return {}
    first, last = _decay_range(phase["settings"])
    return {
        **phase["inputs"],
        **_flat(phase["settings"], [*_FREE, "schedule.decay_steps"]),
        "decay": f"steps {first:,} to {last:,}" if first < math.inf else "none",
    }


def _phase(from_step: int, settings: dict, inputs: dict, command: str = "") -> dict:
    phase = {
        "from_step": from_step,
        "settings": settings,
        "inputs": inputs,
        "command": command,
    }
    return json.loads(json.dumps(phase, default=list))  # Tuples become lists.


def _read(workdir: Path) -> list[dict]:
    """Return the phases of a workdir.

    Raises:
        ValueError: if they can't be read.
    """
    history = workdir / "history.json"
    path = history if history.exists() else workdir / "config.json"
    try:
        value = json.loads(path.read_text())
        phases = value if path == history else [_phase(0, value or None, {})]
        for phase in phases:
            if not (
                isinstance(phase["from_step"], int)
                and isinstance(phase["settings"], dict)
                and isinstance(phase["inputs"], dict)
                and isinstance(phase["command"], str)
            ):
                raise ValueError("It is of another form.")
        if phases[0]["from_step"]:
            raise ValueError("It lacks the first steps.")
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read, so the training settings of {workdir} are unknown: "
            "choose another --workdir, or continue with --allow_change, which is recorded."
        ) from error
    return phases


def _before(phases: list[dict], step: int) -> list[dict]:
    """Return the phases that begin before a step."""
    return [phase for phase in phases if phase["from_step"] < step]


def _changes(old: Mapping, new: Mapping) -> list[tuple]:
    """Return the name, old value and new value of all that differs between two phases.

    Entries that either one lacks, as in earlier versions, are not compared.
    """
    if not old["settings"]:
        return [("the config", "unknown", "known")]
    hidden = [*_FREE, *(_INPUTS if old["inputs"] and new["inputs"] else ())]
    if _keep_share(old["settings"], new["settings"]):
        hidden.append("schedule.decay_steps")
    before, after = (
        {
            **{f"config.{k}": v for k, v in _flat(x["settings"], hidden).items()},
            **x["inputs"],
        }
        for x in (old, new)
    )
    return [
        (name, before[name], after[name])
        for name in after
        if name in before and before[name] != after[name]
    ]


def _flat(settings: dict, hidden: Sequence[str]) -> dict:
    """Return flattened settings, without hidden ones and hidden groups."""
    return {
        name: value
        for name, value in flatten(settings).items()
        if name not in hidden and name.split(".")[0] not in hidden
    }


def _keep_share(old: Mapping, new: Mapping) -> bool:
    """Return whether the learning rate decays over the same share of all steps.

    See `choose_size`, which rounds down.
    """
    try:
        shares = [(x["schedule"]["decay_steps"], x["steps"]) for x in (old, new)]
        lows = [decay / steps for decay, steps in shares]
        highs = [(decay + 1) / steps for decay, steps in shares]
        return max(lows) < min(highs)
    except (KeyError, TypeError, ZeroDivisionError):
        return False


def _same_past(old: Mapping, new: Mapping) -> bool:
    """Return whether two phases agree on the learning rates before the new phase."""
    decays = [_decay_range(phase["settings"]) for phase in (old, new)]
    # The first step of the decay still has the full rate.
    begun = any(first < new["from_step"] for first, _ in decays)
    return decays[0] == decays[1] or not begun


def _decay_range(settings: Mapping) -> tuple[float, float]:
    """Return the first and last step of the decay of the learning rate."""
    steps = settings.get("steps", 0)
    decay_steps = settings.get("schedule", {}).get("decay_steps", 0)
    return (steps - decay_steps + 1, steps) if decay_steps else (math.inf, math.inf)
