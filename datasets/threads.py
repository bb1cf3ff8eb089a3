"""Work on single images, by as many threads as there are cores."""

import os
from collections.abc import Callable, Iterable
from concurrent import futures

import numpy as np

_POOL = futures.ThreadPoolExecutor(len(os.sched_getaffinity(0)), "images")


def map_images(function: Callable, images: Iterable) -> list[np.ndarray]:
    """Return what a function makes of each image.

    For functions that take long outside of the interpreter's lock, such as decoding PNG:
    with shorter ones, threads wait for each other longer than they work.
    """
    return list(_POOL.map(function, images))
