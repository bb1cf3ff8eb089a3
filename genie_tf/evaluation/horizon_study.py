"""Long play of a world with random actions, compared with real video of the same age.

The age of a frame is the number of frames since the prompt, so the first played frame
has age 1.
"""

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from genie_tf.metrics.frame_detail import (
    detail,
    pairwise_distances,
    sharpness,
    stripes,
)
from genie_tf.metrics.frame_shift import frame_shifts, share_with_direction
from genie_tf.metrics.frechet_distance import frechet_distance
from genie_tf.metrics.intervals import jackknife_interval
from genie_tf.pixels import to_bytes
from genie_tf.samplers import WorldSampler

WINDOW = 16  # Frames per clip of a Fréchet distance.
_WINDOW_ENDS = (16, 100, 300)
_AGES = (1, 10, 25, 50, 100, 300)
# Frames for which an action is held: in play, on average, and to measure its effect.
_HOLD = 5
_NUM_VIDEOS = 4


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

    Each play starts from the first frame of a clip. Its actions are uniformly drawn and
    held for five frames on average. Only one batch of plays is in memory at a time.

    Args:
        world: a `WorldModel`.
        batches: batches of the same number of clips, with `video`, uint8 (clips, 1 +
            horizon, height, width, 3).
        num_plays: number of clips to play from, at least three.
        sampling: sampling settings.
        seed: seed of samples and actions.
        feature_networks: networks for Fréchet distances between clips of 16 frames, see
            `evaluate`.

    Returns:
        The scores, a dict for JSON; and the first videos, "truth" and "play", uint8
        (plays, 1 + horizon, height, width, 3).

        In the scores, `sharpness`, `detail`, `stripes` and `spread` have, for each of the
        `ages`, the ratio of played to real frames: `value` and `ci95`. `actions` has, for
        each action and age, the median `shift` of the image, pixels down and to the
        right, while the action is held for five frames; and `same_direction`, the share
        of plays whose shift has the direction of age 1. `frechet` has, for each network,
        `distances` of played from real frames for each of the `windows`, pairs of first
        and last age.
    """
    sampler = WorldSampler(world)
    results, first_videos = [], None
    with tqdm(total=num_plays, desc="play", unit="clip") as progress:
        while progress.n < num_plays:
            real = np.asarray(next(batches)["video"])
            horizon = real.shape[1] - 1
            ages, windows = _ages(horizon), _windows(horizon)
            rng = np.random.default_rng((seed, len(results)))
            play, shifts = _play(sampler, real, ages, rng, sampling)
            first_videos = first_videos or {
                "truth": real[:_NUM_VIDEOS],
                "play": play[:_NUM_VIDEOS],
            }
            result = {
                "truth": real[:, ages],
                "play": play[:, ages],
                "shifts": shifts,
                "features": [
                    [
                        [network(video[:, first : last + 1]) for video in (real, play)]
                        for first, last in windows
                    ]
                    for network in feature_networks
                ],
            }
            take = min(len(real), num_plays - progress.n)
            results.append(keras.tree.map_structure(lambda x, n=take: x[:n], result))
            progress.update(take)
    results = keras.tree.map_structure(lambda *x: np.concatenate(x), *results)
    scores = {
        "plays": num_plays,
        "ages": ages,
        **_ratios(results["play"], results["truth"]),
        "actions": _action_effects(results["shifts"]),
    }
    if feature_networks and windows:
        scores["frechet"] = [
            {
                "network": network.name,
                "score": network.score_name,
                "windows": windows,
                "distances": [frechet_distance(*pair) for pair in features],
            }
            for network, features in zip(
                feature_networks, results["features"], strict=True
            )
        ]
    return scores, first_videos


def _ages(horizon: int) -> list[int]:
    return [*(age for age in _AGES if age < horizon), horizon]


def _windows(horizon: int) -> list[list[int]]:
    """Return the first and last age of the clips whose features are compared."""
    return [[end - WINDOW + 1, end] for end in _WINDOW_ENDS if end <= horizon]


def _play(
    sampler, real, ages: list[int], rng, sampling
) -> tuple[np.ndarray, np.ndarray]:
    """Play a batch from the first frames of real clips.

    Returns:
        The play, uint8, as long as the clips, with the reconstructed prompt first; and
        the shifts while each action is held from each age, int (plays, ages, actions, 2).
    """
    num_actions, plays = sampler.world.num_actions, len(real)
    actions = _draw_held_actions(rng, plays, ages[-1], num_actions)
    seeds = rng.integers(2**31, size=plays, dtype="int32")

    def step(state, action):
        state, frame = sampler.step(state, action, seeds, sampling)
        return state, to_bytes(ops.convert_to_numpy(frame))

    def hold(state, frame, action):
        frames = [frame]
        for _ in range(_HOLD):
            state, frame = step(state, np.full(plays, action, "int32"))
            frames.append(frame)
        return np.stack(frames)

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


def _total_shifts(videos: np.ndarray) -> np.ndarray:
    """Return the motion of videos: (actions, time, plays, ...) to (actions, plays, 2)."""
    before, after = videos[:, :-1], videos[:, 1:]
    each = frame_shifts(*(x.reshape(-1, *x.shape[3:]) for x in (before, after)))
    return each.reshape(*before.shape[:3], 2).sum(axis=1)


def _draw_held_actions(rng, plays: int, frames: int, num_actions: int) -> np.ndarray:
    """Draw actions that are held for five frames on average: int32 (plays, frames)."""
    drawn = rng.integers(num_actions, size=(plays, frames), dtype="int32")
    is_new = rng.random((plays, frames)) < 1 / _HOLD
    newest = np.maximum.accumulate(np.where(is_new, np.arange(frames), 0), axis=1)
    return np.take_along_axis(drawn, newest, axis=1)


def _ratios(play: np.ndarray, truth: np.ndarray) -> dict[str, list[dict]]:
    """Return the ratios of played to real frames, videos (plays, ages, ...)."""
    # Each distance belongs to two plays; each other number to one.
    metrics = {
        "sharpness": (sharpness, 1),
        "detail": (detail, 1),
        "stripes": (stripes, 1),
        "spread": (lambda frames: pairwise_distances(frames).sum(axis=1), 2),
    }
    return {
        name: [
            _ratio(metric(play[:, i]), metric(truth[:, i]), shared_by)
            for i in range(truth.shape[1])
        ]
        for name, (metric, shared_by) in metrics.items()
    }


def _ratio(play: np.ndarray, truth: np.ndarray, shared_by: int) -> dict:
    """Return the ratio of two sums over plays, with the 95% interval of a jackknife.

    Args:
        play, truth: contribution of each play, (plays,).
        shared_by: number of plays that count each contribution.
    """
    sums = [x.sum() / shared_by for x in (play, truth)]
    least = 1e-9  # Real frames can have none, such as black ones.
    value = sums[0] / max(sums[1], least)
    without_each = (sums[0] - play) / np.maximum(sums[1] - truth, least)
    return {"value": value, "ci95": list(jackknife_interval(value, without_each))}


def _action_effects(shifts: np.ndarray) -> list[dict]:
    """Return the effects of each action: from (plays, ages, actions, 2)."""
    medians = np.median(shifts, axis=0)
    shares = share_with_direction(shifts, medians[0])
    return [
        {
            "shift": medians[:, action].tolist(),
            "same_direction": shares[:, action].tolist(),
        }
        for action in range(shifts.shape[2])
    ]
