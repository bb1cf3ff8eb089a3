"""Dataset of frames with their tokens, so that training does not recompute them."""

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

# At most this many steps are lost when a call is stopped.
_STEPS_PER_SHARD = 10_000
# Frames tokenized at a time.
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

    The folder is written completely or not at all. Shards of a stopped call are kept
    next to the folder, and the same call resumes there.

    Args:
        folder: new folder; must not exist.
        dataset: see `open_episodes`.
        tokenize: function that maps uint8 (clips, time, height, width, 3) to tokens
            (clips, time, patches), integers below 65,536. It is called from threads,
            always with the same shape.
        tokenizer: `presets.digest` of the tokenizer, stored to identify it.
        frame_shape: (height, width, 3) of the tokenizer's frames.
        num_patches: tokens per frame.
        clip_length: length of the clips that episodes are cut into; each clip is
            tokenized by itself, and leftover frames at the end are dropped. By default,
            each frame is tokenized by itself.
        resize: whether to scale frames of another size.
        camera, data_dir: see `open_episodes`.

    Raises:
        ValueError: if `open_episodes` raises one, if the folder exists, if frames have
            another shape, if only some splits have actions, or if the shards kept from
            a stopped call have other settings.
        OSError: if a file cannot be written.
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
            f"Only some splits of {dataset!r} have actions ({', '.join(with_actions)}); "
            "expected actions in all splits or none."
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
    # Left by a call that was stopped here, perhaps with other settings.
    shutil.rmtree(builder.data_path, ignore_errors=True)
    builder.download_and_prepare()
    os.replace(builder.data_path, folder)
    shutil.rmtree(unfinished)


class TokenCache(ResumableBuilder, skip_registration=True):
    """Builder of the dataset that `write_token_cache` writes.

    Args:
        splits: episodes of each split.
        tokenize, frame_shape, num_patches: see `write_token_cache`.
        metadata: origin of the frames and tokens.
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
        return 2  # One decodes, compresses and writes while the other tokenizes.

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
        """Yield the key and columns of each clip of some episodes."""
        min_length = self._metadata["clip_length"] or 1
        for episode in chosen[episodes.lengths[chosen] >= min_length]:
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
        """Return the tokens of all complete clips: uint16 (frames, patches)."""
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
            padded = np.concatenate([part, blank])
            codes = np.asarray(self._tokenize(padded))
            tokens.append(codes[: len(part)].astype(np.uint16))
        return np.concatenate(tokens).reshape(-1, self._num_patches)


def _has_actions(episodes: Episodes) -> bool:
    return "action" in episodes.read_numbers(0)


def _check_shape(shape: tuple, expected: tuple, dataset: str) -> None:
    if tuple(shape) != tuple(expected):
        raise DataError(
            f"The tokenizer expects frames of {tuple(expected)}; {dataset} has frames of "
            f"{tuple(shape)}: pass --resize to scale them."
        )


def _divide(lengths: np.ndarray) -> list[np.ndarray]:
    """Return the episode numbers of each shard."""
    shards = (np.cumsum(lengths) - 1) // _STEPS_PER_SHARD
    return np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(shards)) + 1)
