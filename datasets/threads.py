"""Work on single images in one thread per core."""

import os
from collections.abc import Callable, Iterable
from concurrent import futures

import numpy as np

_POOL = futures.ThreadPoolExecutor(len(os.sched_getaffinity(0)), "images")


def map_images(function: Callable, images: Iterable) -> list[np.ndarray]:
    """Apply a function to each image.

    For functions that run long without the interpreter lock, such as decoding PNG: with
    shorter ones, threads wait for each other longer than they work.
    """
    return list(_POOL.map(function, images))
