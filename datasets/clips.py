"""Episodes of a dataset -> batches of short clips.

A batch is a pure function of the dataset, the seed and the training step: a resumed run
sees exactly what an uninterrupted one would, and starting at step 100,000 costs no more
than starting at 0. Only the frames of the clips asked for are ever decoded.
"""

import collections
import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import Any

import numpy as np
from absl import logging
from genie_tf.datasets.checks import check_range, several_sizes
from genie_tf.datasets.episodes import Episodes, open_episodes

from genie_tf.errors import DataError

# Clips are shuffled within a window of so many (shuffled) episodes, which are kept in
# memory. Smaller splits are one window.
_WINDOW = 512
# Batches made ahead of the one being used.
_NUM_AHEAD = 4

# Second part of the seed, one number for each thing drawn at random.
_ORDER, _INPUTS = range(2)


def clip_batches(
    dataset: str,
    split: str,
    *,
    clip_length: int,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_patches: int | None = None,
    training_inputs: Callable[[np.random.Generator, Mapping], dict] | None = None,
    shard: tuple[int, int] = (0, 1),
    camera: str | None = None,
    stride: int = 1,
    frame_size: tuple[int, int] | None = None,
    video: bool = True,
    tokenizer: str | None = None,
    metadata: str | None = None,
    num_actions: int | None = None,
    num_codes: int | None = None,
    data_dir: str | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator over batches of shuffled clips.

    Each epoch cuts every episode into as many clips as fit, from a new random phase,
    and shows each of these clips once. A clip never crosses the end of its episode;
    episodes shorter than a clip are left out.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard", which must consist
            of RLDS episodes, and is built first if it has not been; a folder with such
            a dataset, as `write_token_cache` makes; or a folder of arrays that
            `write_arrays` made, which needs no TFDS.
        split: such as "train", or, of TFDS, "train[:10%]".
        clip_length: frames in a clip.
        batch_size: clips in a batch.
        seed: fixes order, phases and what is drawn for `training_inputs`.
        start_step: the number of batches to leave out, as if already seen.
        num_patches: how many tokens of a frame there must be, if tokens are read.
        training_inputs: returns what else a model needs with a clip, see
            `TrainableModel.training_inputs`.
        shard: (index, number): of each batch, only the part of that index out of so
            many equal ones, for one of several workers.
        camera: which of the observations of TFDS are the frames; by default
            "observation" itself or its "image".
        stride: steps of the episode from one frame of a clip to the next, so that clips
            have the dataset's frame rate divided by it.
        frame_size: (height, width) that frames are scaled to fill; what is then too high
            or too wide is cut off evenly. By default frames are as the dataset has them.
        video: whether to read frames.
        tokenizer: the `presets.digest` of a tokenizer, to read its tokens if the dataset
            has tokens.
        metadata: a whole number of the episodes' metadata to read, such as CoinRun's
            "theme".
        num_actions: all actions that are read must be from 0 to `num_actions` - 1.
        num_codes: all tokens that are read must be from 0 to `num_codes` - 1.
        data_dir: where TFDS keeps its datasets, if not in its usual place.

    Returns:
        An iterator over dictionaries of
            "video": uint8 (batch, time, height, width, 3), unless left out;
            "action": int32 (batch, time-1), where [:, t] was done between frames t and
                t+1, first if there is a stride; only if the dataset has discrete
                actions;
            "tokens": int32 (batch, time, patches), only with `tokenizer`, and if the
                dataset has tokens;
            the name of `metadata`, if given: int32 (batch,), of the clip's episode;
            what `training_inputs` returns, with the batch in front.
        Batches are made ahead of time by a background thread, which its `close()` ends.

    Raises:
        ValueError: if there is no such dataset, config, split, camera or metadata, if it
            does not hold RLDS episodes, if none of them is as long as a clip, if its
            tokens are another tokenizer's or of other clips, or if a batch does not
            split evenly.
        DataError: if what is read is not as expected; batches raise it too.
    """
    index, num_shards = shard
    if batch_size % num_shards:
        raise ValueError(
            f"A batch must split evenly over {num_shards} workers; received batch_size="
            f"{batch_size}."
        )
    share = batch_size // num_shards
    for name, value, least in (
        ("clip_length", clip_length, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("start_step", start_step, 0),
        ("stride", stride, 1),
        ("frame_size", min(frame_size or (1,)), 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, received {value}.")
    # Without frames, episodes take a quarter of the memory.
    num_kept = _WINDOW if video else 4 * _WINDOW
    episodes = open_episodes(
        dataset, split, data_dir, camera, num_kept, video, tokenizer, frame_size
    )
    if (episodes.tokens_of or 1) > 1 and (clip_length, stride) != (
        episodes.tokens_of,
        1,
    ):
        raise ValueError(
            f"The tokens of {dataset!r} are of clips of {episodes.tokens_of} frames with "
            f"stride 1; asked for were {clip_length} frames with stride {stride}."
        )
    labels = None if metadata is None else episodes.read_metadata(metadata)
    # Steps of an episode from the first frame of a clip to its last.
    span = (clip_length - 1) * stride + 1
    num_clips_per_epoch = _count_clips(episodes, span)
    if not num_clips_per_epoch:
        raise ValueError(
            f"No episode of {dataset!r}, split {split!r}, is long enough: clips of "
            f"{span} frames were asked for and the longest episode has "
            f"{episodes.lengths.max(initial=0)}."
        )
    num_short = np.count_nonzero(episodes.lengths < span)
    if num_short:
        logging.warning(
            "%s, split %s: %d of %d episodes are shorter than %d frames and left out.",
            dataset,
            split,
            num_short,
            len(episodes.lengths),
            span,
        )

    where = f"Dataset {dataset!r}, split {split!r},"

    @functools.lru_cache(maxsize=2)
    def clips_of_epoch(epoch: int) -> np.ndarray:
        rng = np.random.default_rng((seed, _ORDER, epoch))
        return _plan_epoch(episodes.lengths, span, rng)

    def make_batch(step: int) -> dict[str, np.ndarray]:
        first = step * batch_size + index * share
        examples = range(first, first + share)
        clips = []
        for example in examples:
            epoch, position = divmod(example, num_clips_per_epoch)
            clips.append(clips_of_epoch(epoch)[position])
        batch = episodes.read_clips(clips, clip_length, stride)
        if video and batch["video"].shape[2:] != episodes.frame_shape:
            shapes = episodes.frame_shape, batch["video"].shape[2:]
            raise several_sizes(where, shapes)
        if num_actions is not None and "action" in batch:
            check_range(batch["action"], num_actions, where, "action")
        if "tokens" in batch:
            patches = batch["tokens"].shape[2]
            if num_patches not in (None, patches):
                raise DataError(
                    f"{where} has {patches} tokens a frame; expected {num_patches}."
                )
            if num_codes is not None:
                check_range(batch["tokens"], num_codes, where, "token")
        if metadata is not None:
            batch[metadata] = labels[[episode for episode, _ in clips]]
        if training_inputs is not None:
            drawn = [
                training_inputs(
                    np.random.default_rng((seed, _INPUTS, example)),
                    {name: array[i] for name, array in batch.items()},
                )
                for i, example in enumerate(examples)
            ]
            for name in drawn[0]:
                batch[name] = np.stack([inputs[name] for inputs in drawn])
        return batch

    return _Prefetched(make_batch, start_step)


def num_clips(
    dataset: str,
    split: str,
    clip_length: int,
    *,
    camera: str | None = None,
    stride: int = 1,
    data_dir: str | None = None,
) -> int:
    """Returns the number of clips in one epoch of `clip_batches`; 0 if none is possible.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard".
        split: such as "train" or "train[:10%]".
        clip_length: frames in a clip.
        camera, stride, data_dir: as of `clip_batches`.

    Raises:
        ValueError: as `clip_batches` does for an unknown or unsuitable dataset.
    """
    span = (clip_length - 1) * stride + 1
    return _count_clips(open_episodes(dataset, split, data_dir, camera), span)


# Which clips, in which order.


def _count_clips(episodes: Episodes, span: int) -> int:
    return int(np.sum(episodes.lengths // span))


def _plan_epoch(lengths: np.ndarray, span: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the (episode, start) of each clip of an epoch, in order: int (clips, 2).

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
    """Iterates over make(start), make(start + 1), ..., made ahead of time in a thread.

    A second one would have to share the interpreter's lock, and both would be slower.
    """

    def __init__(self, make: Callable[[int], Any], start: int):
        pool = futures.ThreadPoolExecutor(1, thread_name_prefix="clips")
        self._submitted = (pool.submit(make, step) for step in itertools.count(start))
        self._ahead = collections.deque()
        # A generator's `finally` would come too late if the program ends first.
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
