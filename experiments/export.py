"""Export a trained Genie or tokenizer as a SavedModel, which runs without genie_tf.

genie-export --preset=runs/genie/model --output=runs/genie/saved_model

Writes the SavedModel to the output folder. docs/sampling.md shows how to use it.
"""

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_new

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained Genie or tokenizer.")
    cli.define_path("output", None, "Output folder; must not exist yet.")


def main() -> None:
    cli.check_preset(FLAGS.preset)
    with cli.user_errors():
        check_new(cli.check_folder(FLAGS.output))
    cli.import_keras()
    with cli.user_errors():
        cli.check_installed("tensorflow", "genie-export needs TensorFlow", "")
        from genie_tf.export import export_model
        from genie_tf.presets.loading import load_preset

        export_model(load_preset(FLAGS.preset), FLAGS.output)
    print(f"Wrote {FLAGS.output}.")


def run() -> None:
    cli.run(main, define_flags, required=["preset", "output"])


if __name__ == "__main__":
    run()
