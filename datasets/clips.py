"""Batches of short clips from the episodes of a dataset.

A batch is a pure function of the dataset, the seed and the training step: a resumed run
sees exactly the batches of an uninterrupted one, and starting at step 100,000 costs no
more than starting at 0. Only the frames of requested clips are decoded.
"""

import collections
import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np
from absl import logging

from genie_tf.datasets.checks import check_frame_size, check_least
from genie_tf.datasets.episodes import Episodes
from genie_tf.datasets.mixture import MixedOrder

# Clips are shuffled within windows of this many (shuffled) episodes, kept in memory.
_WINDOW = 512
# Batches made ahead of the one in use.
_NUM_AHEAD = 4

# Second part of the seed: one number per random quantity.
_ORDER, _TRANSFORMS, _MIXTURE = range(3)

# Returns arrays to add to a clip or replace in it; draws from the generator only.
Transform = Callable[
    [np.random.Generator, dict[str, np.ndarray]], Mapping[str, np.ndarray]
]


class ClipDataset:
    """Short clips of the episodes of one split.

    A clip never crosses the end of its episode. Episodes shorter than a clip are
    skipped, and counted in a warning.

    The clips of a mixture come from its datasets in proportion to their weights; those
    of each dataset come in the order they have without the others.

    Args:
        episodes: result of `open_episodes`.
        clip_length: frames per clip.
        stride: episode steps between consecutive frames of a clip. The frame rate of
            clips is that of the dataset divided by the stride.

    Attributes:
        num_clips: clips per epoch, at least 1; in a mixture, clips until a dataset has
            been read once.
        actions: names and groups of the actions, if the dataset names them.

    Raises:
        ValueError: if every episode is shorter than a clip, or if the dataset's tokens
            belong to clips of another length or stride.

    Example:
        ```python
        episodes = open_episodes("coinrun/random_hard_small", "train")
        clips = ClipDataset(episodes, clip_length=16)
        batch = next(clips.batches(batch_size=8, seed=0))
        ```
    """

    def __init__(self, episodes: Episodes, clip_length: int, stride: int = 1):
        check_least(clip_length=(clip_length, 1), stride=(stride, 1))
        token_clip_length = episodes.token_clip_length or 1
        if token_clip_length > 1 and (clip_length, stride) != (token_clip_length, 1):
            raise ValueError(
                f"The tokens of {episodes.dataset!r} belong to clips of "
                f"{token_clip_length} frames with stride 1; requested clips of "
                f"{clip_length} frames with stride {stride}."
            )
        self._episodes = episodes
        self.actions = episodes.actions
        self._clip_length = clip_length
        self._stride = stride
        # Episode steps from the first frame of a clip to its last, inclusive.
        self._span = (clip_length - 1) * stride + 1
        self._parts, self._weights = episodes.mixture or ([episodes], [1])
        self._counts = [self._count_clips(part) for part in self._parts]
        self.num_clips = min(
            count * sum(self._weights) // weight
            for count, weight in zip(self._counts, self._weights, strict=True)
        )
        # Without frames, episodes take a quarter of the memory.
        episodes.keep(4 * _WINDOW if episodes.frame_shape is None else _WINDOW)

    def batches(
        self,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        shard: tuple[int, int] = (0, 1),
        transforms: Sequence[Transform] = (),
    ) -> Iterator[dict[str, np.ndarray]]:
        """Return an endless iterator over batches of shuffled clips.

        Each epoch cuts every episode into as many clips as fit, from a new random
        phase, and yields each of these clips once.

        Args:
            batch_size: clips per batch.
            seed: determines order, phases and the random numbers of transforms.
            start_step: number of batches to skip.
            shard: (index, count): yield only this part of each batch, out of `count`
                equal parts; for one of several workers.
            transforms: functions called in turn for each clip, with a generator that
                depends only on the seed and the example number, and the clip so far: a
                dictionary as below, without the batch axis. The arrays they return are
                added to the clip, or replace those of the same name.

        Returns:
            An iterator over dictionaries of
                "video": uint8 (batch, time, height, width, 3), if frames are read;
                "action": int32 (batch, time-1), where [:, t] was taken after frame t,
                    if the dataset has discrete actions;
                "tokens": int32 (batch, time, patches), if tokens are read;
                the name of `metadata`, if any: int32 (batch,), of the clip's episode;
                arrays that the transforms add.
            A background thread makes batches ahead of time; `close()` ends it.

        Raises:
            ValueError: if a batch does not split evenly.
            DataError: from the iterator, if the data are not as expected.
        """
        check_least(
            batch_size=(batch_size, 1), seed=(seed, 0), start_step=(start_step, 0)
        )
        index, num_shards = shard
        if batch_size % num_shards:
            raise ValueError(
                f"A batch must split evenly over {num_shards} workers; received "
                f"batch_size={batch_size}."
            )
        share = batch_size // num_shards

        order = MixedOrder(self._weights, (seed, _MIXTURE))
        ends = np.cumsum([len(part.lengths) for part in self._parts])

        @functools.lru_cache(maxsize=2 * len(self._parts))
        def list_clips(part: int, epoch: int) -> np.ndarray:
            rng = np.random.default_rng((seed, _ORDER, epoch))
            lengths = self._parts[part].lengths
            clips = _plan_epoch(lengths, self._span, rng)
            return clips + [ends[part] - len(lengths), 0]

        def make_batch(step: int) -> dict[str, np.ndarray]:
            first = step * batch_size + index * share
            examples = range(first, first + share)
            clips = []
            for example in examples:
                part, number = order.locate(example)
                epoch, position = divmod(number, self._counts[part])
                clips.append(list_clips(part, epoch)[position])
            batch = self._read(clips)
            if transforms:
                rngs = [np.random.default_rng((seed, _TRANSFORMS, i)) for i in examples]
                batch |= _transform(batch, transforms, rngs)
            return batch

        return _Prefetched(make_batch, start_step)

    def _read(self, clips: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return a batch of clips, given as (episode, start) pairs."""
        batch = self._episodes.read_clips(clips, self._clip_length, self._stride)
        check_frame_size(batch, self._episodes)
        return batch

    def _count_clips(self, episodes: Episodes) -> int:
        """Return the clips per epoch of one dataset, and warn of short episodes."""
        count = int(np.sum(episodes.lengths // self._span))
        if not count:
            raise ValueError(
                f"No episode of {episodes.dataset!r}, split {episodes.split!r}, is long "
                f"enough: requested clips of {self._span} frames; the longest episode "
                f"has {episodes.lengths.max(initial=0)}."
            )
        num_short = np.count_nonzero(episodes.lengths < self._span)
        if num_short:
            logging.warning(
                "%s, split %s: %d of %d episodes are shorter than %d frames and are "
                "skipped.",
                episodes.dataset,
                episodes.split,
                num_short,
                len(episodes.lengths),
                self._span,
            )
        return count


def _transform(
    batch: dict[str, np.ndarray],
    transforms: Sequence[Transform],
    rngs: Sequence[np.random.Generator],
) -> dict[str, np.ndarray]:
    """Return the arrays that transforms add to a batch or replace in it."""
    added = []
    for number, rng in enumerate(rngs):
        clip = {name: array[number] for name, array in batch.items()}
        changes = {}
        for transform in transforms:
            changes |= transform(rng, clip | changes)
        added.append(changes)
    return {name: np.stack([changes[name] for changes in added]) for name in added[0]}


def _plan_epoch(lengths: np.ndarray, span: int, rng: np.random.Generator) -> np.ndarray:
    """Return the (episode, start) pairs of an epoch in order: int (clips, 2).

    A clip takes `span` steps of its episode.
    """
    episodes = rng.permutation(len(lengths))
    counts, slack = np.divmod(lengths[episodes], span)
    phases = rng.integers(slack, endpoint=True)
    windows = np.arange(len(episodes)) // _WINDOW

    total = counts.sum()
    tiles = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(phases, counts) + span * tiles
    order = np.lexsort((rng.random(total), np.repeat(windows, counts)))
    return np.stack([np.repeat(episodes, counts), starts], axis=1)[order]


class _Prefetched(Iterator[Any]):
    """Iterator over make(start), make(start + 1), ..., made ahead of time in a thread.

    A second thread would compete for the interpreter lock, and slow both down.
    """

    def __init__(self, make: Callable[[int], Any], start: int):
        pool = futures.ThreadPoolExecutor(1, thread_name_prefix="clips")
        self._submitted = (pool.submit(make, step) for step in itertools.count(start))
        self._ahead = collections.deque()
        # At exit, a generator's `finally` could run too late.
        self.close = weakref.finalize(self, pool.shutdown, cancel_futures=True)

    def __next__(self) -> Any:
        if not self.close.alive:
            raise StopIteration
        missing = 1 + _NUM_AHEAD - len(self._ahead)
        self._ahead.extend(itertools.islice(self._submitted, missing))
        try:
            return self._ahead.popleft().result()
        except BaseException:
            self.close()
            raise
