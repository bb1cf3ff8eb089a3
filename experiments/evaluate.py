"""Measures how good a trained Genie is, on clips it has not seen.

genie-evaluate --preset=runs/genie/model --dataset=coinrun/random_hard_small \
    --split=test --output=runs/evaluation

Writes report.json and report.md: how well the tokenizer and the latent action model
reconstruct and use their codes; how well the dynamics predicts ten frames after one,
with the actions inferred from them; how much worse with random actions (dPSNR); and
how well repeating the prompt would do. Draws reconstructions.png and rollout.gif: the
truth, the prediction, and the same prompt under each action held.
"""

import itertools

import numpy as np
from absl import flags
from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_BATCH = 64


def define_flags() -> None:
    flags.DEFINE_string("preset", None, "Folder of a trained Genie.")
    flags.DEFINE_string("dataset", None, "TFDS name, like coinrun/random_hard.")
    flags.DEFINE_string("split", "test", "Split of the dataset.")
    flags.DEFINE_string("camera", None, "Which of the observations are the frames.")
    flags.DEFINE_integer(
        "stride", 1, "Steps from one frame of a clip to the next.", lower_bound=1
    )
    flags.DEFINE_bool("resize", False, "Scale frames to the size the model is for.")
    flags.DEFINE_integer("clips", 64, "Number of clips.", lower_bound=2)
    flags.DEFINE_integer("steps", 8, "MaskGIT steps a frame.", lower_bound=1)
    flags.DEFINE_float(
        "temperature", 1.0, "Of the tokens; 0 takes the likeliest.", lower_bound=0
    )
    flags.DEFINE_string("output", None, "Folder for report and pictures.")
    flags.DEFINE_string("data_dir", None, "Where TFDS keeps its datasets.")


def main() -> None:
    from genie_tf.datasets.clips import clip_batches
    from genie_tf.experiments import report

    from genie_tf.evaluation import PREDICTED_FRAMES, evaluate
    from genie_tf.metrics.controllability import coinrun_action_groups
    from genie_tf.presets import load_preset
    from genie_tf.samplers import Rollout

    cli.check_folder(FLAGS.output)
    with cli.user_errors():
        genie = load_preset(FLAGS.preset)
        batches = clip_batches(
            FLAGS.dataset,
            FLAGS.split,
            clip_length=1 + PREDICTED_FRAMES,
            batch_size=min(_BATCH, FLAGS.clips),
            seed=0,
            mask_patches=genie.dynamics.num_patches,
            camera=FLAGS.camera,
            stride=FLAGS.stride,
            frame_size=genie.tokenizer.frame_shape[:2] if FLAGS.resize else None,
            data_dir=FLAGS.data_dir,
        )
        first = next(batches)
    cli.check_frames(genie.tokenizer.frame_shape, first["video"], FLAGS.dataset)
    sampling = {"num_steps": FLAGS.steps, "temperature": FLAGS.temperature}
    rollout = Rollout(genie, **sampling)
    is_coinrun = FLAGS.dataset.split("/")[0] == "coinrun"
    scores, videos = evaluate(
        rollout,
        itertools.chain([first], batches),
        FLAGS.clips,
        coinrun_action_groups if is_coinrun else np.asarray,
    )
    batches.close()
    folder = cli.make_folder(FLAGS.output)
    report.write_report(
        folder,
        {
            "dataset": FLAGS.dataset,
            "split": FLAGS.split,
            "camera": FLAGS.camera,
            "stride": FLAGS.stride,
            "resize": FLAGS.resize,
            "sampling": sampling,
            **scores,
            **report.environment(),
        },
    )
    report.draw_pictures(folder, rollout, videos)
    print(f"Wrote {folder}/report.md, reconstructions.png and rollout.gif.")


def run() -> None:
    cli.run(main, define_flags, required=["preset", "dataset", "output"])


if __name__ == "__main__":
    run()
