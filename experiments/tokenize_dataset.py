"""Write a dataset with its tokens, to train the dynamics faster.

genie-tokenize --preset=runs/tokenizer/model --dataset=coinrun/random_hard_small \
    --output=data/tokens
genie-train --config=coinrun_genie:tiny --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model --config.dataset=data/tokens

The output is a TFDS dataset of frames, which the latent action model sees, and tokens.
It can only be used with the same tokenizer. If the program is stopped, rerun the same
command to resume. A tokenizer whose tokens depend on earlier frames needs
--clip_length, the config.clip_length of later training: episodes are then cut into
clips of that length.
"""

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_new

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained tokenizer or Genie.")
    cli.define_path("dataset", None, "TFDS name, or folder of a dataset.")
    cli.define_path("output", None, "Output folder; must not exist yet.")
    flags.DEFINE_integer(
        "clip_length", None, "Frames to tokenize together.", lower_bound=1
    )
    flags.DEFINE_string("camera", None, "Observation that holds the frames.")
    flags.DEFINE_bool("resize", False, "Scale and crop frames to the tokenizer's size.")
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")


def main() -> None:
    cli.check_preset(FLAGS.preset)
    with cli.user_errors():
        check_new(cli.check_folder(FLAGS.output))
    cli.import_keras()
    cli.check_installed("tensorflow_datasets", "writing a dataset needs TFDS", "")
    # Imported here so that --help and invalid flags are fast.
    from genie_tf.compilation import compiled
    from genie_tf.datasets.token_cache import write_token_cache
    from genie_tf.models import VideoTokenizer
    from genie_tf.presets.saving import digest

    with cli.user_errors():
        tokenizer = VideoTokenizer.from_preset(FLAGS.preset)
        _check_tokenizer(tokenizer)
        write_token_cache(
            FLAGS.output,
            FLAGS.dataset,
            compiled(tokenizer.tokenize),
            tokenizer=digest(tokenizer),
            frame_shape=tokenizer.frame_shape,
            num_patches=tokenizer.num_patches,
            clip_length=FLAGS.clip_length,
            camera=FLAGS.camera,
            resize=FLAGS.resize,
            data_dir=FLAGS.data_dir,
        )
    print(f"Wrote {FLAGS.output}. To train on it, pass it as --config.dataset.")


def _check_tokenizer(tokenizer) -> None:
    """Raise a ValueError if tokens cannot be stored or --clip_length is unsuitable."""
    if tokenizer.num_codes > 2**16:
        raise ValueError(
            "Tokens are stored in 2 bytes, so a tokenizer can have at most 65,536 codes; "
            f"this one has {tokenizer.num_codes:,}."
        )
    if tokenizer.sees_one_frame and FLAGS.clip_length is not None:
        raise ValueError(
            "This tokenizer encodes each frame separately: omit --clip_length."
        )
    if not tokenizer.sees_one_frame and FLAGS.clip_length is None:
        raise ValueError(
            "This tokenizer's tokens depend on earlier frames: pass the "
            "config.clip_length of later training as --clip_length."
        )


def run() -> None:
    cli.run(main, define_flags, required=["preset", "dataset", "output"])


if __name__ == "__main__":
    run()
