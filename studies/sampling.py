"""Compare numbers and orders of decoding steps: the table of docs/sampling.md.

python studies/sampling.py --preset=runs/genie/model --dataset=coinrun/held_hard_small

For each order and number of steps, predicts ten frames from one, as genie-evaluate does,
and prints PSNR, SSIM, and dPSNR_4 with the same random actions. One compiled program serves
all settings.
"""

import itertools
import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_BATCH = 32
_PREDICTED_FRAMES = 10


def define_flags():
    flags.DEFINE_string("preset", None, "Genie.")
    flags.DEFINE_string("dataset", None, "TFDS name of the dataset.")
    flags.DEFINE_integer("clips", 128, "Number of test clips.", lower_bound=_BATCH)
    flags.DEFINE_list("steps", [1, 2, 4, 8, 12, 25], "Numbers of steps per frame.")
    flags.DEFINE_list("orders", ["confidence", "halton", "random"], "Decoding orders.")
    flags.DEFINE_list("temperatures", [0, 1], "Temperatures of the tokens.")


def main():
    from keras import ops

    from genie_tf.compilation import compiled
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.evaluation.quality import mean, quality
    from genie_tf.evaluation.report import format_interval
    from genie_tf.evaluation.world_evaluator import HORIZON
    from genie_tf.metrics.controllability import delta_psnr
    from genie_tf.models import WorldModel
    from genie_tf.samplers import WorldSampler, video_seeds

    with cli.user_errors():
        genie = WorldModel.from_preset(FLAGS.preset)
        episodes = open_episodes(FLAGS.dataset, "test")
        batches = ClipDataset(episodes, 1 + _PREDICTED_FRAMES).batches(_BATCH, seed=0)
        batches = list(itertools.islice(batches, FLAGS.clips // _BATCH))
    sampler = WorldSampler(genie)

    @compiled
    def evaluate(video, random, seeds, sampling):
        state, _ = sampler.start(video[:, :1])
        future = video[:, 1:]
        inferred, randomly = (
            sampler.play(state, actions, seeds, sampling)
            for actions in (genie.infer_actions(video), random)
        )
        delta = delta_psnr(
            future[:, :HORIZON], inferred[:, :HORIZON], randomly, HORIZON
        )
        frames = quality(future, inferred)
        return {name: ops.mean(x, -1) for name, x in frames.items()} | {"delta": delta}

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
        results = [
            evaluate(batch["video"], random[i], video_seeds(i, _BATCH), sampling)
            for i, batch in enumerate(batches)
        ]
        scores = {
            name: mean(np.concatenate([np.array(x[name]) for x in results]))
            for name in ("psnr", "ssim", "delta")
        }
        print(
            f"| {order} | {temperature:g} | {steps} | "
            f"{format_interval(scores['psnr'], 2)} | {scores['ssim']['mean']:.3f} | "
            f"{format_interval(scores['delta'], 2)} |",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["preset", "dataset"])
