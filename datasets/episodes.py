"""The episodes of a dataset, in whichever form it is stored."""

from typing import Protocol

import numpy as np

from genie_tf.datasets import array_episodes
from genie_tf.datasets.actions import Actions
from genie_tf.datasets.checks import check_least


class Episodes(Protocol):
    """Episodes of one split.

    Attributes:
        dataset, split: where they are from, as `open_episodes` was told.
        lengths: int64 (episodes,), the number of steps of each, at least 1.
        num_bytes: what they take on disk.
        frame_shape: (height, width, 3) of the first frame, if there is one and frames
            are read.
        tokens_of: if tokens are read, the number of frames of the clips that they were
            made of, or 1 if each is of its frame alone; otherwise None.
        actions: names and groups of the actions, if the dataset names them.
    """

    dataset: str
    split: str
    lengths: np.ndarray
    num_bytes: int
    frame_shape: tuple[int, int, int] | None
    tokens_of: int | None
    actions: Actions | None

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Return the "video", "action" and "tokens" of clips, (episode, start) pairs.

        With them goes the metadata that `open_episodes` was asked for.
        """

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all frames of an episode, and its discrete actions if it has any."""

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """Return the "action" and "reward" of each step of an episode, if it has them."""

    def read_metadata(self, name: str) -> np.ndarray:
        """Return an integer of the metadata of each episode: int32 (episodes,)."""

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
        dataset: TFDS name and config, such as "coinrun/random_hard", which is built
            first if it has not been; a folder with a dataset of TFDS; or a folder of
            arrays, which needs no TFDS.
        split: such as "train", or, of TFDS, "train[:10%]".
        data_dir: where TFDS keeps its datasets, if not in its usual place.
        camera: which of the observations of TFDS are the frames; by default
            "observation" itself or its "image".
        video: whether to read frames.
        frame_size: (height, width) that frames are scaled to fill; what is then too high
            or too wide is cut off evenly. By default frames are as the dataset has them.
        metadata: a whole number of the episodes' metadata that clips include, such as
            CoinRun's "theme".
        num_actions: all actions of clips must be from 0 to `num_actions` - 1.
        tokenizer: the `presets.digest` of the tokenizer whose tokens are read, if the
            dataset has tokens.
        num_codes: all tokens of clips must be from 0 to `num_codes` - 1.
        num_patches: the number of tokens that each frame must have.

    Raises:
        DataError: if its files are damaged, or of another form; on reading too.
        ValueError: if there is no such dataset, config, split, camera or metadata, if it
            does not hold RLDS episodes with frames, or if its tokens are another
            tokenizer's.
    """
    check_least(frame_size=(min(frame_size or (1,)), 1))
    if array_episodes.is_array_dataset(dataset):
        if camera is not None:
            raise ValueError(
                f"The arrays of {dataset!r} are of one camera without a name; received "
                f"{camera!r}."
            )
        episodes = array_episodes.ArrayEpisodes(
            dataset, split, video, frame_size, num_actions
        )
        if metadata is not None:
            episodes.read_metadata(metadata)  # Arrays have none.
        return episodes
    array_episodes.check_tfds(dataset)
    # Imported here, for arrays are read without TFDS.
    from genie_tf.datasets.rlds_episodes import RldsEpisodes

    return RldsEpisodes(
        dataset,
        split,
        data_dir,
        camera,
        video=video,
        frame_size=frame_size,
        metadata=metadata,
        num_actions=num_actions,
        tokenizer=tokenizer,
        num_codes=num_codes,
        num_patches=num_patches,
    )


def split_names(dataset: str, data_dir: str | None = None) -> list[str]:
    """Return the splits of a dataset, which is built first if it has not been.

    Args:
        dataset: as `open_episodes` takes it.
        data_dir: where TFDS keeps its datasets, if not in its usual place.

    Raises:
        ValueError: if there is no such dataset or config.
    """
    if array_episodes.is_array_dataset(dataset):
        return array_episodes.split_names(dataset)
    array_episodes.check_tfds(dataset)
    from genie_tf.datasets import rlds_episodes

    return rlds_episodes.split_names(dataset, data_dir)
