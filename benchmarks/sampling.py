"""What steps and orders of decoding are worth: the table of docs/sampling.md.

python benchmarks/sampling.py --preset=runs/genie/model --dataset=coinrun/held_hard_small

Ten frames after one, as in genie-evaluate, for each order and number of steps: PSNR, SSIM,
and dPSNR_4 with the same draws. One program for all settings.
"""

import itertools
import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_BATCH = 32


def define_flags():
    flags.DEFINE_string("preset", None, "A Genie.")
    flags.DEFINE_string("dataset", None, "TFDS name.")
    flags.DEFINE_integer("clips", 128, "Test clips.", lower_bound=_BATCH)
    flags.DEFINE_list("steps", [1, 2, 4, 8, 12, 25], "Steps a frame.")
    flags.DEFINE_list("orders", ["confidence", "halton", "random"], "Orders.")
    flags.DEFINE_list("temperatures", [0, 1], "Of the tokens.")


def main():
    from keras import ops

    from genie_tf.compilation import compiled
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.evaluation.world_evaluator import HORIZON, PREDICTED_FRAMES
    from genie_tf.metrics.image_quality import psnr, ssim
    from genie_tf.metrics.intervals import mean_confidence_interval
    from genie_tf.models import WorldModel
    from genie_tf.samplers import WorldSampler, seeds_of_batch

    with cli.user_errors():
        genie = WorldModel.from_preset(FLAGS.preset)
        episodes = open_episodes(FLAGS.dataset, "test")
        batches = ClipDataset(episodes, 1 + PREDICTED_FRAMES).batches(_BATCH, seed=0)
        batches = list(itertools.islice(batches, FLAGS.clips // _BATCH))
    rollout = WorldSampler(genie)

    @compiled
    def scores_of(video, random, seeds, sampling):
        tokens = genie.tokenizer.tokenize(video)

        def play(actions):
            played = rollout.play(tokens[:, 0], actions, seeds, sampling)
            whole = ops.concatenate([tokens[:, :1], played], axis=1)
            return genie.tokenizer.detokenize(whole)[:, 1:]

        future, made = video[:, 1:], play(genie.infer_actions(video))
        fourth = future[:, HORIZON - 1 : HORIZON]
        delta = psnr(fourth, made[:, HORIZON - 1 : HORIZON]) - psnr(
            fourth, play(random)[:, -1:]
        )
        return ops.mean(psnr(future, made), -1), ops.mean(ssim(future, made), -1), delta

    rng = np.random.default_rng(0)
    shape = len(batches), _BATCH, HORIZON
    random = rng.integers(genie.num_actions, size=shape, dtype="int32")
    print("| order | temperature | steps | PSNR, dB | SSIM | dPSNR_4, dB |")
    print("|---|---|---|---|---|---|", flush=True)
    for temperature, order, steps in itertools.product(
        map(float, FLAGS.temperatures), FLAGS.orders, map(int, FLAGS.steps)
    ):
        sampling = genie.dynamics.sampling_tensors(
            {"num_steps": steps, "temperature": temperature, "order": order}
        )
        found = [
            scores_of(batch["video"], random[i], seeds_of_batch(i, _BATCH), sampling)
            for i, batch in enumerate(batches)
        ]
        cells = [
            mean_confidence_interval(np.concatenate([np.ravel(x) for x in column]))
            for column in zip(*found, strict=True)
        ]
        (quality, around), (alike, _), (delta, between) = cells
        print(
            f"| {order} | {temperature:g} | {steps} | {quality:.2f} ({around[0]:.2f} to "
            f"{around[1]:.2f}) | {alike:.3f} | {delta:.2f} ({between[0]:.2f} to "
            f"{between[1]:.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["preset", "dataset"])
