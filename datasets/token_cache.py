"""A dataset of frames with their tokens, so that training need not make them again."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow_datasets as tfds

from genie_tf.datasets.episodes import Episodes, open_episodes, split_names
from genie_tf.datasets.frames import compress_frame
from genie_tf.datasets.resumable_builder import ResumableBuilder
from genie_tf.datasets.rlds_features import (
    action_feature,
    action_metadata,
    flag_columns,
    frame_feature,
)
from genie_tf.errors import DataError
from genie_tf.files import check_new

# What a stopped call has to make again.
_STEPS_PER_SHARD = 10_000
# Frames given to the tokenizer at a time.
_BATCH = 256


def write_token_cache(
    folder: str | os.PathLike,
    dataset: str,
    tokenize: Callable[[np.ndarray], np.ndarray],
    *,
    tokenizer: str,
    frame_shape: tuple[int, int, int],
    num_patches: int,
    clip_length: int | None = None,
    camera: str | None = None,
    resize: bool = False,
    data_dir: str | None = None,
) -> None:
    """Write the frames of a dataset with their tokens, as RLDS episodes of TFDS.

    Whole or not at all; shards that a stopped call has made are kept beside the folder,
    and the same call goes on from there.

    Args:
        folder: to write; must not exist.
        dataset: as `open_episodes` takes it.
        tokenize: returns the tokens of uint8 (clips, time, height, width, 3), integers
            below 65,536, (clips, time, patches); called with one shape, in threads.
        tokenizer: the `presets.digest` of the tokenizer, by which the cache knows it.
        frame_shape: (height, width, 3) of the frames that the tokenizer is for.
        num_patches: tokens of a frame.
        clip_length: cuts episodes into clips of so many frames, each tokenized by
            itself; fewer at the end are dropped. Left out, each frame is by itself.
        resize: whether to scale frames of another size to that one.
        camera, data_dir: see `open_episodes`.

    Raises:
        ValueError: as `open_episodes` does, if the folder exists, if frames are of
            another shape, if only some splits have actions, or if what was kept of a
            stopped call is of other settings.
        OSError: if something cannot be written.
    """
    folder = check_new(folder)
    frame_size = frame_shape[:2] if resize else None
    splits = {
        split: open_episodes(dataset, split, data_dir, camera, frame_size=frame_size)
        for split in split_names(dataset, data_dir)
    }
    for split, episodes in splits.items():
        if not np.any(episodes.lengths >= (clip_length or 1)):
            raise ValueError(
                f"No episode of {dataset!r}, split {split!r}, has {clip_length or 1} "
                "frames."
            )
        _check_shape(episodes.frame_shape, frame_shape, dataset)
    with_actions = [name for name, split in splits.items() if _has_actions(split)]
    if with_actions and len(with_actions) < len(splits):
        raise ValueError(
            f"Only some splits of {dataset!r} have actions ({', '.join(with_actions)}), "
            "and all or none must have them."
        )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    builder = TokenCache(
        splits,
        tokenize,
        frame_shape,
        num_patches,
        {
            "dataset": dataset,
            "camera": camera,
            "tokenizer": tokenizer,
            "clip_length": clip_length,
        },
        data_dir=unfinished,
    )
    # If there is one, a call was stopped here; for which settings is not known.
    shutil.rmtree(builder.data_path, ignore_errors=True)
    builder.download_and_prepare()
    os.replace(builder.data_path, folder)
    shutil.rmtree(unfinished)


class TokenCache(ResumableBuilder, skip_registration=True):
    """Builds what `write_token_cache` writes.

    Args:
        splits: the episodes of each split.
        tokenize, frame_shape, num_patches: as of `write_token_cache`.
        metadata: where frames and tokens come from.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        splits: Mapping[str, Episodes],
        tokenize: Callable[[np.ndarray], np.ndarray],
        frame_shape: tuple[int, int, int],
        num_patches: int,
        metadata: dict,
        **kwargs,
    ):
        self._splits = splits
        self._tokenize = tokenize
        self._frame_shape = frame_shape
        self._num_patches = num_patches
        self._metadata = metadata
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        step = {
            "observation": frame_feature(self._frame_shape),
            "tokens": tfds.features.Tensor(
                shape=(self._num_patches,),
                dtype=np.uint16,
                encoding=tfds.features.Encoding.BYTES,
            ),
            "is_first": np.bool_,
            "is_last": np.bool_,
        }
        first = next(iter(self._splits.values()))
        if _has_actions(first):
            step["action"] = action_feature(first.actions)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Frames of another dataset, with their tokens.",
            features=tfds.features.FeaturesDict({"steps": tfds.features.Dataset(step)}),
            metadata=tfds.core.MetadataDict(
                self._metadata | action_metadata(first.actions)
            ),
        )

    def _settings(self) -> str:
        splits = {
            split: (episodes.lengths.tolist(), episodes.num_bytes)
            for split, episodes in self._splits.items()
        }
        return repr((self._metadata, splits))

    def _num_workers(self) -> int:
        return 2  # One decodes, compresses and writes while the other one tokenizes.

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator]]]:
        return {
            split: [
                functools.partial(self._make, episodes, part)
                for part in _divide(episodes.lengths)
            ]
            for split, episodes in self._splits.items()
        }

    def _make(
        self, episodes: Episodes, chosen: np.ndarray
    ) -> Iterator[tuple[str, dict]]:
        """Yield the key and the columns of the clips of some episodes."""
        least = self._metadata["clip_length"] or 1
        for episode in chosen[episodes.lengths[chosen] >= least]:
            frames, actions = episodes.read_episode(episode)
            _check_shape(frames.shape[1:], self._frame_shape, self._metadata["dataset"])
            clip_length = self._metadata["clip_length"] or len(frames)
            tokens = self._tokenize_frames(frames)
            for start in range(0, len(tokens), clip_length):
                part = slice(start, start + clip_length)
                columns = {
                    "steps/observation": list(map(compress_frame, frames[part])),
                    "steps/tokens": [row.tobytes() for row in tokens[part]],
                    **flag_columns(clip_length),
                }
                if actions is not None:
                    columns["steps/action"] = np.asarray(actions[part])
                yield f"{episode}_{start}", columns

    def _tokenize_frames(self, frames: np.ndarray) -> np.ndarray:
        """Return the tokens of all whole clips: uint16 (frames, patches)."""
        time = self._metadata["clip_length"] or 1
        clips = frames[: len(frames) // time * time].reshape(
            -1, time, *frames.shape[1:]
        )
        size = max(1, _BATCH // time)
        tokens = []
        for first in range(0, len(clips), size):
            self.check_cancelled()
            part = clips[first : first + size]
            blank = np.zeros((size - len(part), *part.shape[1:]), np.uint8)
            found = np.asarray(self._tokenize(np.concatenate([part, blank])))
            tokens.append(found[: len(part)].astype(np.uint16))
        return np.concatenate(tokens).reshape(-1, self._num_patches)


def _has_actions(episodes: Episodes) -> bool:
    return "action" in episodes.read_numbers(0)


def _check_shape(found: tuple, expected: tuple, dataset: str) -> None:
    if tuple(found) != tuple(expected):
        raise DataError(
            f"The tokenizer is for frames of {tuple(expected)}; {dataset} has frames of "
            f"{tuple(found)}: give --resize to scale them."
        )


def _divide(lengths: np.ndarray) -> list[np.ndarray]:
    """Return the numbers of the episodes of each shard."""
    shards = (np.cumsum(lengths) - 1) // _STEPS_PER_SHARD
    return np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(shards)) + 1)
