"""What a dataset holds, in numbers, without decoding more than a few of its frames."""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from genie_tf.datasets.episodes import Episodes

# Of each split at most: episodes whose actions and rewards are read, frames decoded.
_NUM_EPISODES = 10_000
_NUM_FRAMES = 64
# Bars of the histogram of lengths.
_NUM_BINS = 10


def summarize(splits: Mapping[str, Episodes], seed: int) -> dict[str, dict]:
    """Counts what the splits of a dataset hold, and shows a progress bar for each.

    Args:
        splits: the episodes of each split, with a frame each at least.
        seed: chooses frames, and episodes of a split of more than 10,000.

    Returns:
        For each split a dictionary that can be written as JSON:
            "episodes", "frames": how many;
            "bytes", "bytes_per_frame": on disk;
            "lengths": "min", "median", "mean" and "max" frames of an episode, and a
                "histogram": "from", "to" and "episodes" of each bar, of which all
                splits have the same;
            "pixels": of so many random "frames", their "sizes" (height, width), and
                "mean" and "std" of red, green and blue, from 0 to 255;
            "actions": of so many "episodes", the "counts" of each action, and the
                "names" of all actions if they have names;
            "rewards": of so many "episodes", the "sum", its "mean" an episode, and in
                how many there is a "nonzero" one.
        The last two only if the dataset has discrete actions, or rewards.

    Raises:
        ValueError: if a file is damaged.
    """
    bins = _choose_bins(np.concatenate([split.lengths for split in splits.values()]))
    return {
        name: {
            "episodes": len(episodes.lengths),
            "frames": int(episodes.lengths.sum()),
            "bytes": episodes.num_bytes,
            "bytes_per_frame": episodes.num_bytes / int(episodes.lengths.sum()),
            "lengths": _describe_lengths(episodes.lengths, bins),
            "pixels": _describe_pixels(episodes, np.random.default_rng(seed)),
            **_describe_numbers(episodes, name, np.random.default_rng(seed)),
        }
        for name, episodes in splits.items()
    }


def _choose_bins(lengths: np.ndarray) -> np.ndarray:
    """Return the first length of each bar of a histogram, and the end of the last."""
    first, end = lengths.min(), lengths.max() + 1
    width = -(-(end - first) // _NUM_BINS)
    return np.arange(first, end + width, width)


def _describe_lengths(lengths: np.ndarray, bins: np.ndarray) -> dict:
    counts, _ = np.histogram(lengths, bins)
    return {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "mean": float(lengths.mean()),
        "max": int(lengths.max()),
        "histogram": [
            {"from": int(first), "to": int(end) - 1, "episodes": int(count)}
            for first, end, count in zip(bins[:-1], bins[1:], counts, strict=True)
        ],
    }


def _describe_pixels(episodes: Episodes, rng: np.random.Generator) -> dict:
    ends = np.cumsum(episodes.lengths)
    number = min(_NUM_FRAMES, ends[-1])
    sizes, num_pixels, sums, squares = set(), 0, 0, 0
    # Sorted, so that an episode is read once.
    for position in np.sort(rng.choice(ends[-1], number, replace=False)):
        episode = np.searchsorted(ends, position, side="right")
        start = position - ends[episode] + episodes.lengths[episode]
        frame = episodes.read_clips([(episode, start)], 1)["video"][0, 0]
        sizes.add(frame.shape[:2])
        pixels = frame.reshape(-1, 3).astype(np.float64)
        num_pixels += len(pixels)
        sums += pixels.sum(axis=0)
        squares += (pixels**2).sum(axis=0)
    mean = sums / num_pixels
    return {
        "frames": int(number),
        "sizes": sorted(sizes),
        "mean": mean.tolist(),
        "std": np.sqrt(squares / num_pixels - mean**2).tolist(),
    }


def _describe_numbers(episodes: Episodes, name: str, rng: np.random.Generator) -> dict:
    """Describe actions and rewards, whichever there are."""
    total = len(episodes.lengths)
    chosen = np.sort(rng.choice(total, min(_NUM_EPISODES, total), replace=False))
    actions, rewards = [], []
    with tqdm(chosen, name, unit="episode") as progress:
        for episode in progress:
            numbers = episodes.read_numbers(episode)
            if "action" in numbers:
                actions.append(numbers["action"])
            if "reward" in numbers:
                rewards.append(numbers["reward"])
    described = {}
    if actions:
        values, counts = np.unique(np.concatenate(actions), return_counts=True)
        described["actions"] = {
            "episodes": len(actions),
            "counts": dict(zip(map(str, values), counts.tolist(), strict=True)),
        }
        if episodes.actions:
            described["actions"]["names"] = list(episodes.actions.names)
    if rewards:
        sums = [float(reward.sum(dtype=np.float64)) for reward in rewards]
        described["rewards"] = {
            "episodes": len(rewards),
            "sum": sum(sums),
            "mean": float(np.mean(sums)),
            "nonzero": sum(bool(reward.any()) for reward in rewards),
        }
    return described
