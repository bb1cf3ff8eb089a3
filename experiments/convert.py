"""Turn a checkpoint of another implementation into a preset.

genie-convert --from=jafar --checkpoint=ckpts/genie_1730000000_200000 --output=presets/jafar
genie-convert --from=jasmine --checkpoint=ckpts/200000/model_state --output=presets/jasmine
genie-convert --from=genieredux --checkpoint=tokenizer/model.pt --output=presets/tokenizer
genie-convert --from=genieredux --checkpoint=guided/model.pt \
    --tokenizer=tokenizer/model.pt --output=presets/guided

Reads the tokenizer, latent action model or world of Jafar or Jasmine (Orbax or Flax) or of
GenieRedux (PyTorch or safetensors), without running code from the checkpoint. Sizes are read from the
tensors. The output is the same function: see docs/originals.md for the measured differences.
"""

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_new, local_path

FLAGS = flags.FLAGS

_IMPLEMENTATIONS = ("jafar", "jasmine", "genieredux")
# Flags for a checkpoint of a part that a world's own checkpoint lacks, by implementation.
_PARTS = {"genieredux": "tokenizer", "jasmine": "action_model"}


def define_flags() -> None:
    flags.DEFINE_enum("from", None, _IMPLEMENTATIONS, "Implementation that wrote it.")
    cli.define_path("checkpoint", None, "Folder or file of the checkpoint.")
    cli.define_path("output", None, "Output folder; must not exist yet.")
    cli.define_path(
        "tokenizer", None, "Checkpoint of a GenieRedux world's tokenizer, stored apart."
    )
    cli.define_path(
        "action_model",
        None,
        "Checkpoint of the latent action model that a Jasmine world was trained with.",
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
        parts = (FLAGS.tokenizer, FLAGS.action_model)
        for checkpoint in filter(None, (FLAGS.checkpoint, *parts)):
            if not local_path(checkpoint).exists():
                raise ValueError(f"There is no checkpoint {checkpoint}.")
        for owner, part in _PARTS.items():
            if FLAGS[part].value and source != owner:
                raise ValueError(
                    f"--{part} is only for --from={owner}; other checkpoints of a world "
                    f"contain their {part.replace('_', ' ')}."
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
        part = _PARTS.get(source)
        if part and FLAGS[part].value:
            arguments[part] = convert(FLAGS[part].value)
        model = convert(FLAGS.checkpoint, **arguments)
        model.save_to_preset(
            FLAGS.output, f"{type(model).__name__} converted from {source}."
        )
    print(f"Wrote {FLAGS.output}: {type(model).__name__}.")


def run() -> None:
    cli.run(main, define_flags, required=["from", "checkpoint", "output"])


if __name__ == "__main__":
    run()
