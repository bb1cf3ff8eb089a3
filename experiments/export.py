"""Writes a trained model as a SavedModel, which TensorFlow plays without genie_tf.

genie-export --preset=runs/genie/model --output=runs/genie/saved_model
"""

from pathlib import Path

from absl import flags
from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("preset", None, "A trained Genie or tokenizer: name or folder.")
    flags.DEFINE_string("output", None, "Folder to write, which must not exist yet.")


def main() -> None:
    cli.check_preset(FLAGS.preset)
    cli.import_keras()
    with cli.user_errors():
        cli.check_folder(Path(FLAGS.output).parent)
        cli.check_installed("tensorflow", "genie-export needs TensorFlow", "")
        from genie_tf.export import export_model
        from genie_tf.presets import load_preset

        export_model(load_preset(FLAGS.preset), FLAGS.output)
    print(f"Wrote {FLAGS.output}.")


def run() -> None:
    cli.run(main, define_flags, required=["preset", "output"])


if __name__ == "__main__":
    run()
