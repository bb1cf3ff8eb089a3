"""Writes a trained model as a SavedModel, which TensorFlow plays without genie_tf.

genie-export --preset=runs/genie/model --output=runs/genie/saved_model
"""

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_new

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("preset", None, "A trained Genie or tokenizer: name or folder.")
    cli.define_path("output", None, "Folder to write, which must not exist yet.")


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
