"""Measure what a frame costs in bits, drawn or copied: tables of docs/world_that_holds.md.

python studies/copying.py --dataset=coinrun/random_hard_small

Nothing is trained but codes of patches, by k-means. Each frame is coded after the frame
before as decoded, as in play, and compared with the true frame. Three tables:

Drawn: each patch is the sum of one to four codes.
Moved: the whole picture makes one shift; each patch then is the sum of none to three codes
of what is left.
Copied: a patch whose copy is closer than a tolerance is that copy; all others are true.
"""

import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_SIDE = 8
_AGES = 1, 10, 48
_TOLERANCES = 5e-4, 1e-3, 1.5e-3, 2e-3, 4e-3


def define_flags():
    flags.DEFINE_string("dataset", None, "TFDS name of the dataset.")
    flags.DEFINE_integer("clips", 24, "Number of test clips.", lower_bound=2)
    flags.DEFINE_integer("codes", 512, "Codes of a codebook.", lower_bound=2)


def main():
    from keras import ops

    from genie_tf.compilation import compiled
    from genie_tf.layers import patchify_frames, unpatchify
    from genie_tf.models import DeltaTokenizer
    from genie_tf.models.delta_tokens import DRAWN, STAYED
    from genie_tf.models.preprocessing import to_unit_range

    with cli.user_errors():
        train, test = (
            _read_clips(FLAGS.dataset, split, FLAGS.clips * more)
            for split, more in (("train", 4), ("test", 1))
        )
    space = {"dim": 8, "num_blocks": 1, "num_heads": 1, "attention": "space"}

    def make_copier(tolerance):
        """Return a function from two frames to copies of the first and their modes."""
        # Its search and its copies have no weights.
        tokenizer = DeltaTokenizer(
            (64, 64, 3), _SIDE, 2, 1, 1, space, space, tolerance=tolerance
        )

        @compiled
        def copier(last, frame):
            _, canvas = tokenizer.detokenize_first(None, last)
            frame = to_unit_range(frame)
            copies = tokenizer.copies(canvas, tokenizer.find_shift(canvas, frame))
            return copies.moved, copies.stayed, tokenizer.choose_modes(copies, frame)

        return lambda *frames: [np.array(x) for x in copier(*frames)]

    def patches(frames):
        return np.array(patchify_frames(to_unit_range(ops.array(frames)), _SIDE))

    def frames(patches):
        return np.array(unpatchify(patches[:, None], _SIDE, 64, 64)[:, 0])

    books = _codebooks(patches(train[:, 1:].reshape(-1, 64, 64, 3)), FLAGS.codes)
    print("| each patch is | bits a frame |" + _HEADER)
    for depth in range(1, len(books) + 1):
        video = [
            frames(_sum_of_codes(patches(frame), books[:depth]))
            for frame in test.swapaxes(0, 1)[1:]
        ]
        bits = 64 * depth * np.log2(FLAGS.codes)
        print(f"| {depth} codes | {bits:.0f} |", _row(test, video), flush=True)

    print("\n| each patch is | bits a frame |" + _HEADER)
    copier = make_copier(_TOLERANCES[0])
    before, after = (train[:, t : t + 35 : 7].reshape(-1, 64, 64, 3) for t in (4, 5))
    changes = patches(after) - copier(before, after)[0]
    books = _codebooks(changes, FLAGS.codes)
    for depth in range(len(books)):
        video = [test[:, 0] / np.float32(255)]
        for frame in test.swapaxes(0, 1)[1:]:
            moved, *_ = copier(video[-1], frame)
            change = _sum_of_codes(patches(frame) - moved, books[:depth])
            video.append(frames(np.clip(moved + change, 0, 1)))
        bits = 7 + 64 * depth * np.log2(FLAGS.codes)
        print(
            f"| moved + {depth} codes | {bits:.0f} |", _row(test, video[1:]), flush=True
        )

    print("\n| tolerance | moved, stayed, drawn |" + _HEADER)
    for tolerance in _TOLERANCES:
        copier = make_copier(tolerance)
        video, modes = [test[:, 0] / np.float32(255)], []
        for frame in test.swapaxes(0, 1)[1:]:
            moved, stayed, mode = copier(video[-1], frame)
            modes.append(mode)
            mode = mode[..., None]
            copy = np.where(mode == STAYED, stayed, moved)
            video.append(frames(np.where(mode == DRAWN, patches(frame), copy)))
        shares = ", ".join(f"{np.mean(np.equal(modes, m)):.2f}" for m in range(3))
        print(f"| {tolerance:g} | {shares} |", _row(test, video[1:]), flush=True)


_HEADER = (
    " PSNR of frames 1, 10, 48, dB | mean, dB | sharpness | detail |\n"
    + "|---" * 6
    + "|"
)


def _read_clips(dataset: str, split: str, count: int) -> np.ndarray:
    """Return clips of different episodes where there are enough, uint8."""
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes

    clips = ClipDataset(open_episodes(dataset, split), 1 + _AGES[-1])
    return next(clips.batches(count, seed=0))["video"]


def _codebooks(points: np.ndarray, codes: int, depth: int = 4) -> list[np.ndarray]:
    """Return codebooks, each of what the ones before leave."""
    from sklearn.cluster import MiniBatchKMeans

    points = points.reshape(-1, points.shape[-1])
    points = np.random.default_rng(0).permutation(points)[:60_000]
    books = []
    for _ in range(depth):
        kmeans = MiniBatchKMeans(codes, batch_size=4096, n_init=1, random_state=0)
        book = kmeans.fit(points).cluster_centers_
        points = points - book[_nearest(points, book)]
        books.append(book)
    return books


def _nearest(points: np.ndarray, book: np.ndarray) -> np.ndarray:
    """Return the index of the nearest code of each point."""
    return (points @ book.T - (book**2).sum(axis=1) / 2).argmax(axis=-1)


def _sum_of_codes(points: np.ndarray, books: list[np.ndarray]) -> np.ndarray:
    """Return points as sums of one code of each codebook."""
    total = np.zeros_like(points)
    for book in books:
        total = total + book[_nearest(points - total, book)]
    return total


def _row(truth: np.ndarray, video: list[np.ndarray]) -> str:
    """Return the scores of decoded frames 1 to 48, as cells of a table.

    PSNR is that of the mean squared error. Sharpness and detail are those of the last
    frame, relative to the true one.
    """
    from genie_tf.metrics.frame_detail import detail, sharpness
    from genie_tf.metrics.image_quality import psnr, psnr_of_mean_error

    truth, video = truth[:, 1:], np.stack(video, axis=1)
    scores = np.array(psnr(truth, video))
    ages = ", ".join(f"{psnr_of_mean_error(scores[:, age - 1]):.1f}" for age in _AGES)
    relative = [
        measure(video[:, -1]).mean() / measure(truth[:, -1]).mean()
        for measure in (sharpness, detail)
    ]
    cells = [ages, f"{psnr_of_mean_error(scores):.1f}", *(f"{x:.2f}" for x in relative)]
    return " | ".join(cells) + " |"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["dataset"])
