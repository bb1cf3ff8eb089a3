"""Measures how good a trained Genie is, on clips it has not seen.

genie-evaluate --preset=runs/genie/model --dataset=coinrun/random_hard_small \
    --split=test --output=runs/evaluation

Writes report.json and report.md: how well the tokenizer and the latent action model
reconstruct and use their codes; how well the dynamics predicts ten frames after one,
with the actions inferred from them; how much worse with random actions (dPSNR); and
how well repeating the prompt would do. Draws reconstructions.png and rollout.gif: the
truth, the prediction, and the same prompt under each action held.
"""

from absl import flags
from genie_tf.experiments import cli

_PRESET = flags.DEFINE_string("preset", None, "Folder of a trained Genie.")
_DATASET = flags.DEFINE_string("dataset", None, "TFDS name, like coinrun/random_hard.")
_SPLIT = flags.DEFINE_string("split", "test", "Split of the dataset.")
_CLIPS = flags.DEFINE_integer("clips", 64, "Number of clips.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 8, "MaskGIT steps a frame.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "Of the tokens; 0 takes the likeliest.", lower_bound=0
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for report and pictures.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its datasets.")
flags.mark_flags_as_required(["preset", "dataset", "output"])

_BATCH = 32


def main() -> None:
    from genie_tf.datasets.clips import clip_batches
    from genie_tf.experiments import report

    from genie_tf.evaluation import PREDICTED_FRAMES, evaluate
    from genie_tf.presets import load_preset
    from genie_tf.samplers import Rollout

    folder = cli.make_folder(_OUTPUT.value)
    with cli.user_errors():
        genie = load_preset(_PRESET.value)
        batches = clip_batches(
            _DATASET.value,
            _SPLIT.value,
            clip_length=1 + PREDICTED_FRAMES,
            batch_size=min(_BATCH, _CLIPS.value),
            seed=0,
            mask_patches=genie.dynamics.num_patches,
            data_dir=_DATA_DIR.value,
        )
    sampling = {"num_steps": _STEPS.value, "temperature": _TEMPERATURE.value}
    rollout = Rollout(genie, **sampling)
    scores, videos = evaluate(rollout, batches, _CLIPS.value)
    batches.close()
    report.write_report(
        folder,
        {
            "dataset": _DATASET.value,
            "split": _SPLIT.value,
            "sampling": sampling,
            **scores,
            **report.environment(),
        },
    )
    report.draw_pictures(folder, rollout, videos)
    print(f"Wrote {folder}/report.md, reconstructions.png and rollout.gif.")


def run() -> None:
    cli.run(main)


if __name__ == "__main__":
    run()
