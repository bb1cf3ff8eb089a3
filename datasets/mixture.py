"""Several datasets as one: NAME:WEIGHT,NAME:WEIGHT."""

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from genie_tf.datasets.actions import Actions
from genie_tf.datasets.checks import check_frame_size
from genie_tf.errors import DataError
from genie_tf.files import local_path

# Most clips in a block (see `MixedOrder`).
_MAX_BLOCK = 1_000_000


def parse_mixture(dataset: str) -> dict[str, int]:
    """Return the weights of the datasets in a mixture, as the smallest whole numbers.

    Args:
        dataset: name or folder of a dataset, or several, each with a weight, such as
            "coinrun/random_hard:0.7,procgen/ninja_random_hard:0.3".

    Returns:
        The weight of each dataset, by name: {"coinrun/random_hard": 7,
        "procgen/ninja_random_hard": 3}. {} if there is only one dataset.

    Raises:
        ValueError: if a mixture has another form, or names a dataset twice.
    """
    if "," not in dataset or local_path(dataset).exists():
        return {}
    weights = {}
    for entry in dataset.split(","):
        name, _, weight = entry.strip().rpartition(":")
        if not name:
            raise ValueError(
                f"Expected NAME:WEIGHT for each dataset of the mixture {dataset!r}; "
                f"received {entry!r}."
            )
        if name in weights:
            raise ValueError(f"The mixture {dataset!r} names {name!r} twice.")
        try:
            is_positive = 0 < float(weight) < math.inf
        except ValueError:
            is_positive = False
        if not is_positive:
            raise ValueError(
                f"Expected weights above 0 in the mixture {dataset!r}; {name!r} has the "
                f"weight {weight!r}."
            )
        weights[name] = Fraction(weight)
    scale = math.lcm(*(weight.denominator for weight in weights.values()))
    whole = [int(weight * scale) for weight in weights.values()]
    block = sum(whole) // math.gcd(*whole)
    if block > _MAX_BLOCK:
        raise ValueError(
            f"Expected weights with at most six digits in the mixture {dataset!r}: "
            f"these repeat only after {block:,} clips."
        )
    return {name: x // math.gcd(*whole) for name, x in zip(weights, whole, strict=True)}


class MixedOrder:
    """Order in which examples are drawn from the datasets of a mixture.

    Examples come in blocks that hold each dataset exactly `weight` times, in random
    order. From each dataset, examples are drawn in that dataset's own order.

    Args:
        weights: whole numbers, one per dataset.
        seed: list of integers that determines the order.
    """

    def __init__(self, weights: Sequence[int], seed: Sequence[int]):
        self._weights = weights
        self._size = sum(weights)
        # Called from one thread, for one block after another.
        self._block = functools.lru_cache(maxsize=2)(
            functools.partial(self._make_block, tuple(seed))
        )

    def locate(self, example: int) -> tuple[int, int]:
        """Return the dataset of an example, and the example's number within it."""
        if len(self._weights) == 1:
            return 0, example
        block, place = divmod(example, self._size)
        datasets, numbers = self._block(block)
        dataset = datasets[place]
        return dataset, block * self._weights[dataset] + numbers[place]

    def _make_block(
        self, seed: tuple[int, ...], block: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each example of a block, its dataset and its number there."""
        datasets = np.repeat(np.arange(len(self._weights)), self._weights)
        np.random.default_rng((*seed, block)).shuffle(datasets)
        numbers = np.empty(self._size, np.int64)
        for dataset, weight in enumerate(self._weights):
            numbers[datasets == dataset] = np.arange(weight)
        return datasets, numbers


class MixedEpisodes:
    """Episodes of a mixture's datasets, one dataset after the other.

    `ClipDataset` draws clips from each dataset as often as its weight says. See
    `Episodes` for methods and attributes.

    Args:
        dataset: the mixture, as in `parse_mixture`.
        parts: episodes of each dataset.
        weights: weight of each dataset.

    Raises:
        DataError: if frames differ in size, or if datasets differ in their actions or
            columns.
    """

    def __init__(self, dataset: str, parts: Sequence, weights: Sequence[int]):
        _check_alike(dataset, parts)
        self.dataset = dataset
        self.split = parts[0].split
        self.mixture = list(parts), list(weights)
        self.lengths = np.concatenate([part.lengths for part in parts])
        self.num_bytes = sum(part.num_bytes for part in parts)
        self.frame_shape = parts[0].frame_shape
        self.token_clip_length = parts[0].token_clip_length
        self.actions = _common_actions([part.actions for part in parts])
        self._parts = parts
        ends = itertools.accumulate(len(part.lengths) for part in parts)
        self._starts = np.array([0, *ends][:-1])

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Return the columns of clips, (episode, start) pairs."""
        chosen = defaultdict(list)  # The places of each dataset's clips in the batch.
        for place, (episode, _) in enumerate(clips):
            chosen[self._find(episode)[0]].append(place)
        batches = []
        for part, places in chosen.items():
            local = [(clips[i][0] - self._starts[part], clips[i][1]) for i in places]
            batch = self._parts[part].read_clips(local, clip_length, stride)
            check_frame_size(batch, self._parts[part])
            batches.append(batch)
        order = np.argsort(list(itertools.chain(*chosen.values())))
        return {
            name: np.concatenate([batch[name] for batch in batches])[order]
            for name in batches[0]
        }

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all frames of an episode, and its discrete actions, if any."""
        part, episode = self._find(episode)
        return self._parts[part].read_episode(episode)

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Return the "action" and "reward" of each step of an episode, if any."""
        part, episode = self._find(episode)
        return self._parts[part].read_numbers(episode)

    def read_metadata(self, name: str) -> np.ndarray:
        """Return an integer from each episode's metadata: int32 (episodes,)."""
        return np.concatenate([part.read_metadata(name) for part in self._parts])

    def keep(self, num_episodes: int) -> None:
        """Keep this many episodes of each dataset in memory, still compressed."""
        for part in self._parts:
            part.keep(num_episodes)

    def _find(self, episode: int) -> tuple[int, int]:
        """Return the dataset of an episode, and the episode's number there."""
        part = int(np.searchsorted(self._starts, episode, side="right")) - 1
        return part, episode - self._starts[part]


def _check_alike(dataset: str, parts: Sequence) -> None:
    """Raise a DataError if the datasets of a mixture cannot share batches."""
    first = parts[0]
    for part in parts[1:]:
        for what, values, hint in (
            ("the columns", [_column_names(x) for x in (first, part)], ""),
            (
                "frames of",
                [x.frame_shape for x in (first, part)],
                ": scale them with --config.resize=True or --resize",
            ),
            ("the actions", [_action_names(x) for x in (first, part)], ""),
            ("tokens of clips of", [x.token_clip_length for x in (first, part)], ""),
        ):
            if values[0] != values[1]:
                raise DataError(
                    f"The mixture {dataset!r} needs datasets that are alike: "
                    f"{first.dataset!r} has {what} {values[0]}, {part.dataset!r} has "
                    f"{what} {values[1]}{hint}."
                )


def _action_names(episodes) -> str:
    return ", ".join(episodes.actions.names) if episodes.actions else "without names"


def _column_names(episodes) -> str:
    clip = episodes.read_clips([(0, 0)], 1) if len(episodes.lengths) else {}
    return ", ".join(sorted(clip)) or "none"


def _common_actions(actions: Sequence[Actions | None]) -> Actions | None:
    """Return the actions, equivalent only where they are so in every dataset."""
    if actions[0] is None:
        return None
    groups = list(zip(*(x.groups for x in actions), strict=True))
    return Actions(actions[0].names, tuple(groups.index(group) for group in groups))
