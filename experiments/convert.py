"""Turn a checkpoint of another implementation into a preset.

genie-convert --from=jafar --checkpoint=ckpts/genie_1730000000_200000 --output=presets/jafar
genie-convert --from=genieredux --checkpoint=tokenizer/model.pt --output=presets/tokenizer
genie-convert --from=genieredux --checkpoint=guided/model.pt \
    --tokenizer=tokenizer/model.pt --output=presets/guided

Reads the tokenizer, latent action model or world of Jafar (Orbax or Flax) or of GenieRedux
(PyTorch or safetensors), without running code from the checkpoint. Sizes are read from the
tensors. The output is the same function: see docs/originals.md for the measured differences.
"""

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_new, local_path

FLAGS = flags.FLAGS

_IMPLEMENTATIONS = ("jafar", "genieredux")


def define_flags() -> None:
    flags.DEFINE_enum("from", None, _IMPLEMENTATIONS, "Implementation that wrote it.")
    cli.define_path("checkpoint", None, "Folder or file of the checkpoint.")
    cli.define_path("output", None, "Output folder; must not exist yet.")
    cli.define_path(
        "tokenizer", None, "Checkpoint of a GenieRedux world's tokenizer, stored apart."
    )
    flags.DEFINE_integer("height", 64, "Height of a frame in pixels.", lower_bound=1)
    flags.DEFINE_integer("width", 64, "Width of a frame in pixels.", lower_bound=1)
    flags.DEFINE_integer(
        "frames",
        16,
        "Frames per clip in training: the window of attention.",
        lower_bound=1,
    )


def main() -> None:
    source = FLAGS["from"].value
    with cli.user_errors():
        check_new(cli.check_folder(FLAGS.output))
        for checkpoint in filter(None, (FLAGS.checkpoint, FLAGS.tokenizer)):
            if not local_path(checkpoint).exists():
                raise ValueError(f"There is no checkpoint {checkpoint}.")
        if FLAGS.tokenizer and source != "genieredux":
            raise ValueError(
                "--tokenizer is only for --from=genieredux; other checkpoints of a world "
                "contain their tokenizer."
            )
    cli.import_keras()
    # Imported here so that --help and invalid flags are fast.
    from genie_tf.convert import CONVERTERS, read_checkpoint

    def convert(checkpoint, **arguments):
        return CONVERTERS[source](
            read_checkpoint(checkpoint),
            frame_shape=(FLAGS.height, FLAGS.width, 3),
            frames=FLAGS.frames,
            **arguments,
        )

    with cli.user_errors():
        arguments = {}
        if FLAGS.tokenizer:
            arguments["tokenizer"] = convert(FLAGS.tokenizer)
        model = convert(FLAGS.checkpoint, **arguments)
        model.save_to_preset(
            FLAGS.output, f"{type(model).__name__} converted from {source}."
        )
    print(f"Wrote {FLAGS.output}: {type(model).__name__}.")


def run() -> None:
    cli.run(main, define_flags, required=["from", "checkpoint", "output"])


if __name__ == "__main__":
    run()
