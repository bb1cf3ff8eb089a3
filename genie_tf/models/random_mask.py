"""Masks of MaskGIT training."""

import numpy as np


class RandomMask:
    """Transform of clips that hides patches of every frame but the first.

    Each clip has a rate of its own, the probability with which a patch is hidden.

    Args:
        num_patches: patches (tokens) of a frame.
        rates: the least and the largest rate, which are drawn uniformly.

    Example:
        ```python
        clips.batches(batch_size=8, seed=0, transforms=[RandomMask(num_patches=256)])
        ```
    """

    def __init__(self, num_patches: int, rates: tuple[float, float] = (0.5, 1.0)):
        self._num_patches = num_patches
        self._rates = rates

    def __call__(
        self, rng: np.random.Generator, clip: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the mask of a clip.

        Args:
            rng: draws the mask.
            clip: with "video" or "tokens", whose first axis is time.

        Returns:
            "mask": bool (time, patches), in which True hides a patch.
        """
        frames = clip["video"] if "video" in clip else clip["tokens"]
        rate = rng.uniform(*self._rates)
        mask = rng.random((len(frames), self._num_patches)) < rate
        mask[0] = False
        return {"mask": mask}
