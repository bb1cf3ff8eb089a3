"""The episodes of a dataset, in whichever form it is stored."""

from typing import Protocol

import numpy as np
from genie_tf.datasets import array_episodes


class Episodes(Protocol):
    """Episodes of one split.

    Attributes:
        lengths: int64 (episodes,), the number of steps of each, at least 1.
        num_bytes: what they take on disk.
        frame_shape: (height, width, 3) of the first frame, if there is one and frames
            are read.
        tokens_of: if tokens are read, the number of frames of the clips that they were
            made of, or 1 if each is of its frame alone; otherwise None.
    """

    lengths: np.ndarray
    num_bytes: int
    frame_shape: tuple[int, int, int] | None
    tokens_of: int | None

    def read_clips(
        self, clips: list[np.ndarray], clip_length: int, stride: int = 1
    ) -> dict[str, np.ndarray]:
        """The "video", "action" and "tokens" of clips, (episode, start) pairs."""

    def read_episode(self, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """All frames of an episode, and its discrete actions if it has any."""

    def read_numbers(self, episode: int) -> dict[str, np.ndarray]:
        """The "action" and "reward" of each step of an episode, if it has them."""

    def read_metadata(self, name: str) -> np.ndarray:
        """An integer of the metadata of each episode: int32 (episodes,)."""


def open_episodes(
    dataset: str,
    split: str,
    data_dir: str | None = None,
    camera: str | None = None,
    num_kept: int = 1,
    video: bool = True,
    tokenizer: str | None = None,
    frame_size: tuple[int, int] | None = None,
) -> Episodes:
    """Opens one split of a dataset.

    Args:
        dataset: TFDS name and config, such as "coinrun/random_hard", which is built
            first if it has not been; a folder with a dataset of TFDS; or a folder of
            arrays, which needs no TFDS.
        split: such as "train", or, of TFDS, "train[:10%]".
        data_dir: where TFDS keeps its datasets, if not in its usual place.
        camera: which of the observations of TFDS are the frames; by default
            "observation" itself or its "image".
        num_kept: how many episodes of TFDS to keep in memory, still compressed.
        video: whether to read frames.
        tokenizer: the `presets.digest` of the tokenizer whose tokens are read, if the
            dataset has tokens.
        frame_size: (height, width) that frames are scaled to fill; what is then too high
            or too wide is cut off evenly. By default frames are as the dataset has them.

    Raises:
        DataError: if its files are damaged, or of another form; on reading too.
        ValueError: if there is no such dataset, config, split or camera, if it does
            not hold RLDS episodes with frames, or if its tokens are another tokenizer's.
    """
    if array_episodes.is_array_dataset(dataset):
        if camera is not None:
            raise ValueError(
                f"The arrays of {dataset!r} are of one camera without a name; received "
                f"{camera!r}."
            )
        return array_episodes.ArrayEpisodes(dataset, split, video, frame_size)
    array_episodes.check_tfds(dataset)
    # Imported here, for arrays are read without TFDS.
    from genie_tf.datasets.rlds_episodes import RldsEpisodes

    return RldsEpisodes(
        dataset, split, data_dir, camera, num_kept, video, tokenizer, frame_size
    )


def split_names(dataset: str, data_dir: str | None = None) -> list[str]:
    """Returns the splits of a dataset, which is built first if it has not been.

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
