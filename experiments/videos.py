"""Makes a dataset of one's own videos, to train on as on any other.

genie-videos --input=recordings --name=mine
genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok \
    --config.dataset=video_folder/mine

Takes .mp4, .mov, .m4v, .webm, .mkv, .avi and .gif files, and folders of .png or .jpg
frames, wherever they are below the folder. Needs PyAV: pip install genie_tf[video].
"""

import gc
import re
from pathlib import Path

from absl import flags, logging
from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("input", None, "Folder of the videos.")
    flags.DEFINE_string("name", None, "Of the dataset, which is video_folder/NAME.")
    flags.DEFINE_integer("height", 64, "Of its frames, in pixels.", lower_bound=1)
    flags.DEFINE_integer("width", 64, "Of its frames, in pixels.", lower_bound=1)
    flags.DEFINE_float("fps", 10, "Frames a second.", lower_bound=0.01)
    flags.DEFINE_float(
        "clip_seconds", 16, "What is longer becomes several episodes.", lower_bound=0
    )
    cli.define_path("data_dir", None, "Where TFDS keeps its datasets.")


def main() -> None:
    cli.check_installed("av", "reading videos needs PyAV", "[video]")
    cli.check_installed("tensorflow_datasets", "writing a dataset needs TFDS", "")
    # Imported here so that --help and wrong flags answer at once.
    from genie_tf.datasets.video_folder.video_folder_dataset_builder import (
        Builder,
        VideoFolderConfig,
    )
    from genie_tf.datasets.video_folder.videos import split_videos

    if not re.fullmatch(r"\w+", FLAGS.name):
        raise cli.UserError(
            f"--name must be of letters, digits and _ alone; received {FLAGS.name!r}"
        )
    folder = Path(FLAGS.input)
    if not folder.is_dir():
        raise cli.UserError(f"there is no folder {folder}, which --input names")
    max_steps = round(FLAGS.clip_seconds * FLAGS.fps)
    if max_steps < 2:
        raise cli.UserError(
            "an episode must have two frames or more; --clip_seconds="
            f"{FLAGS.clip_seconds:g} and --fps={FLAGS.fps:g} make {max_steps}"
        )
    form = {"fps": FLAGS.fps, "height": FLAGS.height, "width": FLAGS.width}
    if FLAGS.data_dir is not None:
        cli.check_folder(FLAGS.data_dir)
    with cli.user_errors():
        splits, skipped = split_videos(folder, **form)
        config = VideoFolderConfig(
            name=FLAGS.name,
            description=f"Videos of the folder {folder}.",
            folder=folder,
            splits=splits,
            skipped=skipped,
            max_steps=max_steps,
            **form,
        )
        logging.set_verbosity(logging.ERROR)  # TFDS warns of configs of one's own.
        builder = Builder(config=config, data_dir=FLAGS.data_dir)
        if builder.data_path.exists():
            raise ValueError(
                f"{builder.data_path} exists already: choose another --name, or delete "
                "that folder."
            )
        failure = _build(builder)
        if failure:
            raise ValueError(f"nothing is written: {failure}")
    _report(builder)


def _build(builder) -> str:
    """Builds the dataset; what the system had against it, such as a full disk, if so."""
    import tensorflow as tf

    failure = ""
    try:
        builder.download_and_prepare()
    except RuntimeError as error:
        if not isinstance(error.__cause__, tf.errors.OpError):
            raise
        failure = error.__cause__.message
    # TFDS's progress bars go with the exception; later, they would wipe out the sentence.
    gc.collect()
    return failure


def _report(builder) -> None:
    """Prints what the dataset has, and what it has not."""
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
