"""Episodes of an RLDS dataset -> batches of short clips.

A batch is a pure function of the dataset, the seed and the training step: a resumed run
sees exactly what an uninterrupted one would, and starting at step 100,000 costs no more
than starting at 0. Only the frames of the clips asked for are ever decoded.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, BinaryIO

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

# Clips are shuffled within a window of so many (shuffled) episodes, which are kept in
# memory, still compressed: about 0.5 GB of CoinRun. Smaller splits are one window.
_WINDOW = 512
# Batches made at the same time, and ahead of the one being used.
_NUM_WORKERS = 2
_NUM_AHEAD = 4

# Second part of the seed, one number for each thing drawn at random.
_ORDER, _MASK = range(2)


def clip_batches(
    dataset: str,
    split: str,
    *,
    clip_length: int,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    mask_patches: int | None = None,
    shard: tuple[int, int] = (0, 1),
    data_dir: str | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator over batches of shuffled clips.

    Each epoch cuts every episode into as many clips as fit, from a new random phase,
    and shows each of these clips once. A clip never crosses the end of its episode;
    episodes shorter than a clip are left out.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard". It must consist of
            RLDS episodes, and is built first if it has not been.
        split: such as "train" or "train[:10%]".
        clip_length: frames in a clip.
        batch_size: clips in a batch.
        seed: fixes order, phases and masks.
        start_step: the number of batches to leave out, as if already seen.
        mask_patches: number of patches (tokens) of a frame, if masks are wanted.
        shard: (index, number): of each batch, only the part of that index out of so
            many equal ones, for one of several workers.
        data_dir: where TFDS keeps its datasets, if not in its usual place.

    Returns:
        An iterator over dictionaries of
            "video": uint8 (batch, time, height, width, 3);
            "action": int32 (batch, time-1), where [:, t] was done between frames t and
                t+1; only if the dataset has discrete actions;
            "mask": bool (batch, time, patches), only with `mask_patches`. True hides a
                patch, with a probability drawn from U(0.5, 1) for each clip; frame 0 is
                never hidden.
        Batches are made ahead of time by background threads, which its `close()` ends.

    Raises:
        ValueError: if there is no such dataset, config or split, if it does not hold
            RLDS episodes, if none of them is as long as a clip, or if a batch does
            not split evenly.
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
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, received {value}.")
    episodes = _Episodes(dataset, split, data_dir)
    num_clips_per_epoch = _count_clips(episodes, clip_length)
    if not num_clips_per_epoch:
        raise ValueError(
            f"No episode of {dataset!r}, split {split!r}, is long enough: clips of "
            f"{clip_length} frames were asked for and the longest episode has "
            f"{episodes.lengths.max(initial=0)}."
        )
    num_short = np.count_nonzero(episodes.lengths < clip_length)
    if num_short:
        logging.warning(
            "%s, split %s: %d of %d episodes are shorter than %d frames and left out.",
            dataset,
            split,
            num_short,
            len(episodes.lengths),
            clip_length,
        )

    @functools.lru_cache(maxsize=2)
    def clips_of_epoch(epoch: int) -> np.ndarray:
        rng = np.random.default_rng((seed, _ORDER, epoch))
        return _plan_epoch(episodes.lengths, clip_length, rng)

    def make_batch(step: int) -> dict[str, np.ndarray]:
        first = step * batch_size + index * share
        examples = range(first, first + share)
        clips = []
        for example in examples:
            epoch, position = divmod(example, num_clips_per_epoch)
            clips.append(clips_of_epoch(epoch)[position])
        batch = episodes.read_clips(clips, clip_length)
        if mask_patches is not None:
            batch["mask"] = np.stack(
                [
                    _draw_mask(
                        np.random.default_rng((seed, _MASK, example)),
                        (clip_length, mask_patches),
                    )
                    for example in examples
                ]
            )
        return batch

    return _prefetch(make_batch, start_step)


def num_clips(
    dataset: str, split: str, clip_length: int, data_dir: str | None = None
) -> int:
    """Returns the number of clips in one epoch of `clip_batches`; 0 if none is possible.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard".
        split: such as "train" or "train[:10%]".
        clip_length: frames in a clip.
        data_dir: where TFDS keeps its datasets, if not in its usual place.

    Raises:
        ValueError: as `clip_batches` does for an unknown or unsuitable dataset.
    """
    return _count_clips(_Episodes(dataset, split, data_dir), clip_length)


# Which clips, in which order, with which masks.


def _count_clips(episodes: "_Episodes", clip_length: int) -> int:
    return int(np.sum(episodes.lengths // clip_length))


def _plan_epoch(
    lengths: np.ndarray, clip_length: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns the (episode, start) of each clip of an epoch, in order: int (clips, 2)."""
    episodes = rng.permutation(len(lengths))
    counts, slack = np.divmod(lengths[episodes], clip_length)
    phases = rng.integers(slack, endpoint=True)
    windows = np.arange(len(episodes)) // _WINDOW

    total = counts.sum()
    tiles = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(phases, counts) + clip_length * tiles
    order = np.lexsort((rng.random(total), np.repeat(windows, counts)))
    return np.stack([np.repeat(episodes, counts), starts], axis=1)[order]


def _draw_mask(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns a (time, patches) mask of Genie's dynamics training."""
    rate = rng.uniform(0.5, 1.0)
    mask = rng.random(shape) < rate
    mask[0] = False
    return mask


def _prefetch(make: Callable[[int], Any], start: int) -> Iterator[Any]:
    """Yields make(start), make(start + 1), ..., made ahead of time in threads."""
    pool = futures.ThreadPoolExecutor(_NUM_WORKERS, thread_name_prefix="clips")
    waiting = collections.deque()
    try:
        for step in itertools.count(start):
            waiting.append(pool.submit(make, step))
            if len(waiting) > _NUM_AHEAD:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# Random access to episodes. TFDS reads TFRecord files from front to back, but the length
# of each record stands before it, so that their places are quickly found.


class _Episodes:
    """The episodes of one split of an RLDS dataset, read when they are needed.

    Attributes:
        lengths: int64 (episodes,), the number of steps of each.
    """

    def __init__(self, dataset: str, split: str, data_dir: str | None):
        info = _prepare(dataset, data_dir).info
        self._frame_name, columns = _select_columns(dataset, info.features)
        self._decode_frame = columns[self._frame_name].decode_example_np
        self._features = tfds.features.FeaturesDict(
            {"steps": tfds.features.Dataset(columns)}
        )
        self._records = []
        lengths = []
        for shard in _find_shards(dataset, split, info):
            with epath.Path(shard.filename).open("rb") as file:
                records = itertools.islice(
                    _find_records(file), shard.skip, shard.skip + shard.take
                )
                for offset, size in list(records):
                    self._records.append((shard.filename, offset, size))
                    lengths.append(_count_steps(file, offset, size))
        self.lengths = np.array(lengths, np.int64)
        self._read = functools.lru_cache(maxsize=_WINDOW)(self._read)

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int
    ) -> dict[str, np.ndarray]:
        """Returns the "video" and "action" of clips given as (episode, start) pairs."""
        frames, actions = [], []
        for episode, start in clips:
            steps = self._read(episode)
            end = start + clip_length
            frames += map(self._decode_frame, steps[self._frame_name][start:end])
            if "action" in steps:
                actions.append(steps["action"][start : end - 1])
        video = np.stack(frames)
        batch = {"video": video.reshape(-1, clip_length, *video.shape[1:])}
        if actions:
            batch["action"] = np.stack(actions).astype(np.int32)
        return batch

    def _read(self, episode: int) -> dict[str, np.ndarray]:
        """Returns the columns of an episode, its frames still encoded."""
        filename, offset, size = self._records[episode]
        with epath.Path(filename).open("rb") as file:
            file.seek(offset)
            record = file.read(size)
        return self._features.deserialize_example_np(
            record, decoders={"steps": tfds.decode.SkipDecoding()}
        )["steps"]


def _prepare(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that is ready to be read."""
    name = dataset.split("/")[0]
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = ", ".join(f"coinrun/{config}" for config in _configs("coinrun"))
        raise ValueError(
            f"There is no dataset {dataset!r}: genie_tf has {known}; "
            "tfds.list_builders() lists those of TFDS."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"There is no dataset {dataset!r}: the configs of {name!r} are "
            f"{', '.join(_configs(name))}."
        ) from error
    builder.download_and_prepare()
    return builder


def _configs(name: str) -> list[str]:
    return list(tfds.builder_cls(name).builder_configs)


def _find_shards(dataset: str, split: str, info: tfds.core.DatasetInfo) -> list:
    """Returns the TFDS file instructions of a split."""
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"Dataset {dataset!r} is stored as {info.file_format.value}, and only "
            "tfrecord can be read."
        )
    try:
        return info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"Dataset {dataset!r} has no split {split!r}: its splits are "
            f"{', '.join(info.splits)}, or parts of them such as 'train[:10%]'."
        ) from error


def _select_columns(
    dataset: str, features: tfds.features.FeaturesDict
) -> tuple[str, dict[str, tfds.features.FeatureConnector]]:
    """Returns the name of the frames' column, and the features of all columns needed."""
    steps = dict(features).get("steps")
    if not isinstance(steps, tfds.features.Dataset) or "observation" not in steps:
        raise ValueError(
            f"Dataset {dataset!r} does not hold RLDS episodes: expected a dataset of "
            f"'steps' with an 'observation', found {', '.join(features)}."
        )
    observation = steps["observation"]
    if isinstance(observation, tfds.features.FeaturesDict):
        if "image" not in observation:
            raise ValueError(
                f"The observations of dataset {dataset!r} have no 'image', only "
                f"{', '.join(observation)}."
            )
        name, frame = "observation/image", observation["image"]
    else:
        name, frame = "observation", observation
    columns = {name: frame}
    if "action" in steps:
        action = steps["action"]
        if action.shape == () and np.issubdtype(action.np_dtype, np.integer):
            columns["action"] = action
    return name, columns


def _find_records(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yields the (offset, size) in bytes of each record of a TFRecord file."""
    # A record is its size in 8 bytes, a checksum in 4, its data, a checksum in 4.
    end = file.seek(0, 2)
    offset = 0
    while offset < end:
        file.seek(offset)
        size = int.from_bytes(file.read(8), "little")
        yield offset + 12, size
        offset += size + 16


def _count_steps(file: BinaryIO, offset: int, size: int) -> int:
    """Counts the steps of an episode without reading its frames.

    The record is a tf.train.Example, a map whose entries can be skipped from the first
    to the next. The values of `is_first`, 0 or 1, take one byte each.
    """
    file.seek(offset)
    _read_size(file)  # Example.features, all there is in it
    while file.tell() < offset + size:
        entry_size = _read_size(file)
        next_entry = file.tell() + entry_size
        if file.read(_read_size(file)) == b"steps/is_first":
            _read_size(file)  # the entry's value, a Feature
            _read_size(file)  # Feature.int64_list
            return _read_size(file)  # Int64List.value, packed
        file.seek(next_entry)
    raise ValueError(f"A record of {file.name} has no 'steps/is_first': not RLDS.")


def _read_size(file: BinaryIO) -> int:
    """Reads a protobuf field's tag and the size of what follows."""
    file.read(1)  # all tags met here fit in one byte
    size = shift = 0
    while True:
        byte = file.read(1)[0]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size
        shift += 7
