"""Statistics of a dataset, computed from all lengths but only a few decoded frames."""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from genie_tf.datasets.episodes import Episodes

# Limits per split: episodes whose actions and rewards are read, and decoded frames.
_NUM_EPISODES = 10_000
_NUM_FRAMES = 64
# Bars of the histogram of lengths.
_NUM_BINS = 10


def summarize(splits: Mapping[str, Episodes], seed: int) -> dict[str, dict]:
    """Compute statistics of each split, and show progress bars.

    Args:
        splits: episodes of each split, with at least one frame.
        seed: selects frames, and the episodes of a split that has more than 10,000.

    Returns:
        For each split, a JSON-serializable dictionary:
            "episodes", "frames": their numbers;
            "bytes", "bytes_per_frame": size on disk;
            "lengths": "min", "median", "mean" and "max" frames per episode, and a
                "histogram": "from", "to" and "episodes" of each bar. All splits have
                the same bars;
            "pixels": number of random "frames", their "sizes" (height, width), and
                "mean" and "std" of red, green and blue, from 0 to 255;
            "actions": number of "episodes" read, "counts" of each action, and "names"
                of all actions, if any;
            "rewards": number of "episodes" read, "sum" of the rewards, "mean" per
                episode, and the number of episodes with a "nonzero" reward.
        "actions" and "rewards" are present only if the dataset has them (actions:
        discrete ones).

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
    """Return the first length of each histogram bar, and the end of the last bar."""
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
    # Sorted, so that each episode is read once.
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
    """Describe actions and rewards, if any."""
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
