"""Episodes of a dataset, in any storage format."""

from typing import Protocol

import numpy as np

from genie_tf.datasets import array_episodes
from genie_tf.datasets.actions import Actions
from genie_tf.datasets.checks import check_least
from genie_tf.datasets.mixture import MixedEpisodes, parse_mixture


class Episodes(Protocol):
    """Episodes of one split.

    Attributes:
        dataset, split: arguments of `open_episodes`.
        lengths: int64 (episodes,), steps per episode, at least 1.
        num_bytes: size on disk, in bytes.
        frame_shape: (height, width, 3) of the first frame, if any and if frames are
            read.
        token_clip_length: if tokens are read, the length of the clips that were
            tokenized, or 1 if each frame was tokenized by itself; otherwise None.
        actions: names and groups of the actions, if the dataset names them.
        mixture: episodes and weight of each dataset, if there are several.
    """

    dataset: str
    split: str
    lengths: np.ndarray
    num_bytes: int
    frame_shape: tuple[int, int, int] | None
    token_clip_length: int | None
    actions: Actions | None
    mixture: tuple[list["Episodes"], list[int]] | None

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Return the "video", "action" and "tokens" of clips, (episode, start) pairs.

        The metadata requested from `open_episodes` are included.
        """

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all frames of an episode, and its discrete actions, if any."""

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Return the "action" and "reward" of each step of an episode, if any."""

    def read_metadata(self, name: str) -> np.ndarray:
        """Return an integer from each episode's metadata: int32 (episodes,)."""

    def keep(self, num_episodes: int) -> None:
        """Keep this many episodes in memory, still compressed."""


def open_episodes(
    dataset: str,
    split: str,
    data_dir: str | None = None,
    camera: str | None = None,
    *,
    video: bool = True,
    frame_size: tuple[int, int] | None = None,
    metadata: str | None = None,
    num_actions: int | None = None,
    tokenizer: str | None = None,
    num_codes: int | None = None,
    num_patches: int | None = None,
) -> Episodes:
    """Open one split of a dataset.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard", built first if
            necessary; the folder of a TFDS dataset; a folder of arrays, which does not
            need TFDS; or a mixture of these (see `parse_mixture`).
        split: split, such as "train" or, for TFDS, "train[:10%]".
        data_dir: folder of TFDS datasets, if not the default.
        camera: TFDS observation that holds the frames; by default "observation" itself
            or its "image".
        video: whether to read frames.
        frame_size: (height, width) that frames are scaled to fill; excess height or
            width is cropped evenly. By default frames keep their size.
        metadata: integer of the episode metadata to include in clips, such as CoinRun's
            "theme".
        num_actions: number of actions; those of clips must be below it.
        tokenizer: `presets.digest` of the tokenizer whose tokens are read, if the
            dataset has tokens.
        num_codes: number of codes; tokens of clips must be below it.
        num_patches: expected tokens per frame.

    Raises:
        DataError: if a file is damaged or has another form; also on reading.
        ValueError: if the dataset, config, split, camera or metadata do not exist, if
            the dataset does not hold RLDS episodes with frames, or if its tokens come
            from another tokenizer.
    """
    check_least(frame_size=(min(frame_size or (1,)), 1))
    weights = parse_mixture(dataset)
    settings = {
        "video": video,
        "frame_size": frame_size,
        "metadata": metadata,
        "num_actions": num_actions,
        "tokenizer": tokenizer,
        "num_codes": num_codes,
        "num_patches": num_patches,
    }
    if weights:
        parts = [
            open_episodes(name, split, data_dir, camera, **settings) for name in weights
        ]
        return MixedEpisodes(dataset, parts, list(weights.values()))
    if array_episodes.is_array_dataset(dataset):
        if camera is not None:
            raise ValueError(
                f"The arrays of {dataset!r} have a single, unnamed camera; received "
                f"camera {camera!r}."
            )
        episodes = array_episodes.ArrayEpisodes(
            dataset, split, video, frame_size, num_actions
        )
        if metadata is not None:
            episodes.read_metadata(metadata)  # Raises: arrays have none.
        return episodes
    array_episodes.check_tfds(dataset)
    # Imported here because arrays do not need TFDS.
    from genie_tf.datasets.rlds_episodes import RldsEpisodes

    return RldsEpisodes(dataset, split, data_dir, camera, **settings)


def split_names(dataset: str, data_dir: str | None = None) -> list[str]:
    """Return the splits of a dataset, built first if necessary.

    Args:
        dataset: see `open_episodes`.
        data_dir: folder of TFDS datasets, if not the default.

    Raises:
        ValueError: if the dataset or config does not exist, or if it is a mixture.
    """
    if parse_mixture(dataset):
        raise ValueError(f"Expected one dataset; received the mixture {dataset!r}.")
    if array_episodes.is_array_dataset(dataset):
        return array_episodes.split_names(dataset)
    array_episodes.check_tfds(dataset)
    from genie_tf.datasets import rlds_episodes

    return rlds_episodes.split_names(dataset, data_dir)
