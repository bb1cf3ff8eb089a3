"""Make a dataset of your own videos, to train on as on any other.

genie-videos --input=recordings --name=mine
genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok \
    --config.dataset=video_folder/mine

Reads .mp4, .mov, .m4v, .webm, .mkv, .avi and .gif files, and folders of .png or .jpg
frames, at any depth below the input folder. Writes the dataset video_folder/NAME to the
folder of TFDS datasets. Needs PyAV: pip install genie_tf[video].
"""

import contextlib
import fcntl
import gc
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import flags, logging

from genie_tf.experiments import cli
from genie_tf.files import local_path

FLAGS = flags.FLAGS

_MAX_EPISODE_BYTES = 2**30  # TFDS holds several copies of an episode in memory.


def define_flags() -> None:
    cli.define_path("input", None, "Folder of videos.")
    flags.DEFINE_string(
        "name", None, "Name of the dataset, which becomes video_folder/NAME."
    )
    flags.DEFINE_integer("height", 64, "Height of frames, in pixels.", lower_bound=1)
    flags.DEFINE_integer("width", 64, "Width of frames, in pixels.", lower_bound=1)
    flags.DEFINE_float(
        "fps", 10, "Frames per second.", lower_bound=0.01, upper_bound=1000
    )
    flags.DEFINE_float(
        "clip_seconds",
        16,
        "Longest episode, in seconds; longer videos are split.",
        lower_bound=0,
    )
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")


def main() -> None:
    cli.check_installed("av", "reading videos needs PyAV", "[video]")
    cli.check_installed("tensorflow_datasets", "writing a dataset needs TFDS", "")
    if not re.fullmatch(r"\w+", FLAGS.name):
        raise cli.UserError(
            f"--name must contain only letters, digits and _; received {FLAGS.name!r}"
        )
    with cli.user_errors():
        folder = local_path(FLAGS.input)
        data_dir = FLAGS.data_dir and local_path(FLAGS.data_dir)
    if not folder.is_dir():
        raise cli.UserError(f"there is no folder {folder}: check --input")
    if data_dir is not None:
        cli.check_folder(data_dir)
    form = {"fps": FLAGS.fps, "height": FLAGS.height, "width": FLAGS.width}
    steps = round(FLAGS.clip_seconds * FLAGS.fps, 6)
    max_steps = _MAX_EPISODE_BYTES // (3 * FLAGS.height * FLAGS.width)
    if not 2 <= steps <= max_steps:  # Also true for NaN.
        raise cli.UserError(
            f"an episode of {FLAGS.height}x{FLAGS.width} pixels must have from 2 to "
            f"{max_steps} frames; --clip_seconds={FLAGS.clip_seconds:g} and "
            f"--fps={FLAGS.fps:g} make {steps:g}"
        )
    # Imported here so that --help and invalid flags are fast.
    from genie_tf.datasets.video_folder.video_folder_dataset_builder import (
        Builder,
        VideoFolderConfig,
    )
    from genie_tf.datasets.video_folder.videos import printable, split_videos

    with cli.user_errors():
        splits, skipped = split_videos(folder, **form)
        config = VideoFolderConfig(
            name=FLAGS.name,
            description=f"Videos of the folder {printable(str(folder))}.",
            folder=folder,
            splits=splits,
            skipped=skipped,
            max_steps=int(steps),
            **form,
        )
        logging.set_verbosity(logging.ERROR)  # TFDS warns about custom configs.
        builder = Builder(config=config, data_dir=data_dir)
        if builder.data_path.exists():
            raise ValueError(
                f"{builder.data_path} already exists: choose another --name, or delete "
                "that folder."
            )
        with _exclusive_build(Path(builder.data_path).parent):
            failure = _build(builder)
        if failure:
            raise ValueError(f"nothing was written: {failure}")
    _report(builder)


@contextlib.contextmanager
def _exclusive_build(folder: Path) -> Iterator[None]:
    """Lock a folder against other builds, and remove the leftovers of killed ones.

    Raises:
        ValueError: if another program is building it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another program is building {folder}: wait until it ends, or choose "
                "another --name"
            ) from error
        for leftover in folder.glob("incomplete.*"):
            shutil.rmtree(leftover)
        yield
    finally:
        os.close(descriptor)


def _build(builder) -> str:
    """Build the dataset; return the system's error, such as a full disk, or ""."""
    import tensorflow as tf

    failure = ""
    try:
        builder.download_and_prepare()
    except RuntimeError as error:
        if not isinstance(error.__cause__, tf.errors.OpError):
            raise
        failure = error.__cause__.message
    # Delete TFDS's progress bars with the exception; later, they would erase the error.
    gc.collect()
    return failure


def _report(builder) -> None:
    """Print what the dataset contains, and which files were left out."""
    splits = builder.info.splits
    counts = ", ".join(f"{splits[name].num_examples} {name}" for name in splits)
    print(f"Wrote {builder.info.full_name.rpartition('/')[0]}, episodes: {counts}.")
    print(f"It is in {builder.data_path}.")
    for name, why in builder.info.metadata["skipped"].items():
        print(f"Left out: {name}: {why}.")


def run() -> None:
    cli.run(main, define_flags, required=["input", "name"])


if __name__ == "__main__":
    run()
