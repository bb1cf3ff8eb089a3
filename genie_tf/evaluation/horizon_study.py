"""Long play of a world with random actions, against real video of the same age.

The age of a frame is its place after the prompt: the first frame played has age 1.
"""

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from genie_tf.metrics.frame_detail import detail, pairwise_distances, sharpness
from genie_tf.metrics.frame_shift import frame_shifts, share_going_the_same_way
from genie_tf.metrics.frechet_distance import frechet_distance
from genie_tf.metrics.intervals import jackknife_interval
from genie_tf.pixels import to_bytes
from genie_tf.samplers import WorldSampler

MIN_PLAYS = 3  # For the interval of the spread.
WINDOW = 16  # Frames of a clip whose features are compared.
_AGES = (1, 10, 25, 50, 100, 300)
# Frames that an action is held: on average in play, and to see what it does.
_HELD = 5
_NUM_SHOWN = 4


def study_horizon(
    world,
    batches: Iterator[Mapping[str, np.ndarray]],
    num_plays: int,
    *,
    sampling: Mapping | None = None,
    seed: int = 0,
    feature_networks: Sequence = (),
) -> tuple[dict, dict[str, np.ndarray]]:
    """Play a world for as long as real clips last, and compare its frames with theirs.

    Each play starts from the first frame of a clip. Its actions are drawn uniformly, and
    held for five frames on average. Only one batch of plays is in memory at a time.

    Args:
        world: a `WorldModel`.
        batches: equally many clips each, `video` uint8 (clips, 1 + horizon, height,
            width, 3).
        num_plays: how many clips to take, at least three.
        sampling: settings that frames are sampled with.
        seed: of samples and actions.
        feature_networks: of Fréchet distances, for clips of 16 frames, see `evaluate`.

    Returns:
        The scores, a dict for JSON; and the first plays, "truth" and "play", uint8
        (plays, 1 + horizon, height, width, 3).
        In the scores, `sharpness`, `detail` and `spread` have a ratio to real frames
        for each of the `ages`, `value` with `ci95`; `actions` has for each action and
        age the median `shift` of the picture, pixels down and right while the action is
        held for five frames, and `same_way`, the share of plays in which it goes the
        way of age 1; and `frechet` has, for each network, `distances` between played
        and real frames of each of the `windows`, first and last age.
    """
    sampler = WorldSampler(world)
    found, shown = [], None
    with tqdm(total=num_plays, desc="play", unit="clip") as progress:
        while progress.n < num_plays:
            real = np.asarray(next(batches)["video"])
            ages = _ages_up_to(real.shape[1] - 1)
            rng = np.random.default_rng((seed, len(found)))
            play, shifts = _play(sampler, real, ages, rng, sampling)
            shown = shown or {"truth": real[:_NUM_SHOWN], "play": play[:_NUM_SHOWN]}
            measured = {
                "truth": real[:, ages],
                "play": play[:, ages],
                "shifts": shifts,
                "features": [
                    [
                        {
                            "truth": network(real[:, span]),
                            "play": network(play[:, span]),
                        }
                        for span in map(_span, _windows(ages))
                    ]
                    for network in feature_networks
                ],
            }
            take = min(len(real), num_plays - progress.n)
            found.append(keras.tree.map_structure(lambda x, n=take: x[:n], measured))
            progress.update(take)
    found = keras.tree.map_structure(lambda *x: np.concatenate(x), *found)
    scores = {
        "plays": num_plays,
        "ages": ages,
        **_ratios(found["truth"], found["play"]),
        "actions": _action_effects(found["shifts"]),
    }
    if feature_networks and _windows(ages):
        scores["frechet"] = [
            {
                "network": network.name,
                "score": network.score_name,
                "windows": _windows(ages),
                "distances": [frechet_distance(x["truth"], x["play"]) for x in windows],
            }
            for network, windows in zip(
                feature_networks, found["features"], strict=True
            )
        ]
    return scores, shown


def _ages_up_to(horizon: int) -> list[int]:
    return [*(age for age in _AGES if age < horizon), horizon]


def _windows(ages: list[int]) -> list[list[int]]:
    """First and last age of the clips whose features are compared."""
    last = sorted({WINDOW, *ages})
    return [[age - WINDOW + 1, age] for age in last if WINDOW <= age <= ages[-1]]


def _span(window: list[int]) -> slice:
    return slice(window[0], window[1] + 1)


def _play(
    sampler, real, ages: list[int], rng, sampling
) -> tuple[np.ndarray, np.ndarray]:
    """Play a batch from the first frames of real clips.

    Returns:
        The play, uint8, the prompt as decoded first, as long as the clips; and the
        shifts of each action held from each age on: int (plays, ages, actions, 2).
    """
    num_actions, plays = sampler.world.num_actions, len(real)
    actions = _hold_randomly(rng, plays, ages[-1], num_actions)
    seeds = rng.integers(2**31, size=plays, dtype="int32")

    def step(state, action):
        state, frame = sampler.step(state, action, seeds, sampling)
        return state, to_bytes(ops.convert_to_numpy(frame))

    def hold(state, frame, action):
        held = [frame]
        for _ in range(_HELD):
            state, frame = step(state, np.full(plays, action, "int32"))
            held.append(frame)
        return np.stack(held)

    state, prompt = sampler.reset(real[:, :1])
    frames = [to_bytes(ops.convert_to_numpy(prompt)[:, 0])]
    shifts = []
    for age, action in enumerate(actions.T, 1):
        if age in ages:
            held = [hold(state, frames[-1], other) for other in range(num_actions)]
            shifts.append(_total_shifts(np.stack(held)))
        state, frame = step(state, action)
        frames.append(frame)
    return np.stack(frames, axis=1), np.moveaxis(shifts, 2, 0)


def _total_shifts(held: np.ndarray) -> np.ndarray:
    """Return how far videos move: (actions, time, plays, ...) -> (actions, plays, 2)."""
    before, after = held[:, :-1], held[:, 1:]
    each = frame_shifts(*(x.reshape(-1, *x.shape[3:]) for x in (before, after)))
    return each.reshape(*before.shape[:3], 2).sum(axis=1)


def _hold_randomly(rng, plays: int, frames: int, num_actions: int) -> np.ndarray:
    """Draw actions that are held for five frames on average: int32 (plays, frames)."""
    drawn = rng.integers(num_actions, size=(plays, frames), dtype="int32")
    is_new = rng.random((plays, frames)) < 1 / _HELD
    newest = np.maximum.accumulate(np.where(is_new, np.arange(frames), 0), axis=1)
    return np.take_along_axis(drawn, newest, axis=1)


def _ratios(truth: np.ndarray, play: np.ndarray) -> dict[str, list[dict]]:
    """Return what played frames have of real ones: videos (plays, ages, ...)."""
    measures = {
        "sharpness": sharpness,
        "detail": detail,
        "spread": lambda frames: pairwise_distances(frames).sum(axis=1),
    }
    return {
        name: [
            # A play has a part in two of the distances that are its own.
            _ratio(
                measure(play[:, i]), measure(truth[:, i]), 2 if name == "spread" else 1
            )
            for i in range(truth.shape[1])
        ]
        for name, measure in measures.items()
    }


def _ratio(play: np.ndarray, truth: np.ndarray, shared_by: int) -> dict:
    """Return the ratio of two sums over plays, with a jackknife's 95% interval.

    Args:
        play, truth: the part of each play, (plays,).
        shared_by: how many plays each part is counted for.
    """
    sums = [x.sum() / shared_by for x in (play, truth)]
    least = 1e-9  # Real frames without any detail, such as black ones.
    value = sums[0] / max(sums[1], least)
    without_each = (sums[0] - play) / np.maximum(sums[1] - truth, least)
    return {"value": value, "ci95": list(jackknife_interval(value, without_each))}


def _action_effects(shifts: np.ndarray) -> list[dict]:
    """Return median shifts and same ways of each action: (plays, ages, actions, 2)."""
    medians = np.median(shifts, axis=0)
    shares = share_going_the_same_way(shifts, medians[0])
    return [
        {"shift": medians[:, action].tolist(), "same_way": shares[:, action].tolist()}
        for action in range(shifts.shape[2])
    ]
