"""Summaries compared with numpy on the same arrays."""

import numpy as np
import pytest

from genie_tf.datasets import summary
from genie_tf.datasets.array_episodes import ArrayEpisodes, write_arrays

LENGTHS = {"train": [3, 12, 5, 1], "test": [25]}


def episodes(split):
    rng = np.random.default_rng(len(split))
    for length in LENGTHS[split]:
        frames = rng.integers(256, size=(length, 4, 6, 3), dtype=np.uint8)
        yield frames, rng.integers(4, size=length) if split == "train" else None


@pytest.fixture
def splits(tmp_path):
    write_arrays(tmp_path / "arrays", {split: episodes(split) for split in LENGTHS})
    return {split: ArrayEpisodes(tmp_path / "arrays", split) for split in LENGTHS}


def test_counts_and_pixels_match_arrays(splits, tmp_path):
    summaries = summary.summarize(splits, seed=0)
    for split, described in summaries.items():
        frames, actions = zip(*episodes(split), strict=True)
        files = (tmp_path / "arrays" / split).iterdir()
        assert described["episodes"] == len(LENGTHS[split])
        assert described["frames"] == sum(LENGTHS[split])
        assert described["bytes"] == sum(file.stat().st_size for file in files)
        assert described["bytes_per_frame"] == described["bytes"] / described["frames"]
        # Few enough that all frames are sampled.
        pixels = np.concatenate(frames).reshape(-1, 3)
        assert described["pixels"]["frames"] == sum(LENGTHS[split])
        assert described["pixels"]["sizes"] == [(4, 6)]
        np.testing.assert_allclose(described["pixels"]["mean"], pixels.mean(axis=0))
        np.testing.assert_allclose(described["pixels"]["std"], pixels.std(axis=0))
        assert "rewards" not in described
    assert "actions" not in summaries["test"]
    actions = np.concatenate([actions for _, actions in episodes("train")]).tolist()
    assert summaries["train"]["actions"] == {
        "episodes": 4,
        "counts": {str(key): actions.count(key) for key in sorted(set(actions))},
    }


def test_splits_share_histogram_bars(splits):
    summaries = summary.summarize(splits, seed=0)
    lengths = summaries["train"]["lengths"]
    assert [lengths[key] for key in ("min", "median", "mean", "max")] == [
        1,
        4,
        5.25,
        12,
    ]
    bars = {name: split["lengths"]["histogram"] for name, split in summaries.items()}
    edges = [(bar["from"], bar["to"]) for bar in bars["train"]]
    assert edges == [(bar["from"], bar["to"]) for bar in bars["test"]]
    assert edges == [(first, first + 2) for first in range(1, 26, 3)]
    for split, histogram in bars.items():
        for bar in histogram:
            inside = [bar["from"] <= length <= bar["to"] for length in LENGTHS[split]]
            assert bar["episodes"] == sum(inside)


def test_single_length_makes_one_bar(splits):
    described = summary.summarize({"test": splits["test"]}, seed=0)["test"]["lengths"]
    assert described["histogram"] == [{"from": 25, "to": 25, "episodes": 1}]


def test_numbers_of_episodes_and_frames_are_limited(splits, monkeypatch):
    monkeypatch.setattr(summary, "_NUM_EPISODES", 2)
    monkeypatch.setattr(summary, "_NUM_FRAMES", 7)
    seeds = [summary.summarize(splits, seed)["train"] for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert seeds[0]["pixels"]["frames"] == 7
    assert seeds[0]["actions"]["episodes"] == 2
    assert seeds[0]["episodes"] == 4
