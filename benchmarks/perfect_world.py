"""What a perfect world would score: the game itself, seen through a tokenizer.

python benchmarks/perfect_world.py --tokenizer=runs/fast/tokenizer/model

From moments of test levels, the game goes on for four frames twice: with a player's actions,
and with uniformly random ones. dPSNR_4 is then that of a world that knows all of the game's
state, which no picture shows: how fast the figure is. What true actions can be worth, is
no more than that.
"""

import os

import numpy as np
from absl import flags
from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_FRAMES = 4
_EVERY = 50  # Steps from one moment to the next.


def define_flags():
    flags.DEFINE_string("tokenizer", None, "Preset of a tokenizer.")
    flags.DEFINE_string("levels", "random_hard_small", "Whose test levels are played.")
    flags.DEFINE_integer("seed", 0, "Of the random actions.", lower_bound=0)


def main():
    from genie_tf.datasets.coinrun import rollouts
    from tqdm import tqdm

    from genie_tf.metrics.intervals import mean_confidence_interval
    from genie_tf.models import VideoTokenizer

    with cli.user_errors():
        tokenizer = VideoTokenizer.from_preset(FLAGS.tokenizer)
    levels = rollouts.DATASETS[FLAGS.levels]
    rng = np.random.default_rng(FLAGS.seed)
    found = []
    for seed in tqdm(levels.splits["test"], unit="level"):
        actions = rollouts.draw_actions(seed, levels.steps_per_level, levels.hold)
        environment = rollouts.make_environment(seed)
        for step, action in enumerate(actions[:-_FRAMES]):
            if step % _EVERY == _EVERY // 2:
                random = rng.integers(rollouts.NUM_ACTIONS, size=_FRAMES)
                true = _go_on(environment, actions[step : step + _FRAMES])
                other = _go_on(environment, random)
                if true is not None and other is not None:
                    found.append((true, other))
            environment.act(np.array([action], np.int32))
            environment.observe()
        environment.close()
    true, other = np.array(found).swapaxes(0, 1)
    scores = _psnr(true, _seen(tokenizer, true)), _psnr(true, _seen(tokenizer, other))
    for name, values in (
        ("the game with the player's actions", scores[0]),
        ("the game with random actions", scores[1]),
        ("dPSNR_4", scores[0] - scores[1]),
    ):
        mean, (low, high) = mean_confidence_interval(values)
        print(f"{name}: {mean:.2f} dB ({low:.2f} to {high:.2f}), {len(found)} moments")


def _go_on(environment, actions):
    """The frame after some actions; None if the episode ends before. Changes nothing."""
    state = environment.callmethod("get_state")
    ended = False
    for action in actions:
        environment.act(np.array([action], np.int32))
        _, observation, is_first = environment.observe()
        ended |= bool(is_first[0])
    frame = observation["rgb"][0].copy()
    environment.callmethod("set_state", state)
    return None if ended else frame


def _seen(tokenizer, frames):
    return np.array(tokenizer(frames[:, None])["reconstruction"])[:, 0]


def _psnr(target, made):
    error = np.mean((target / 255 - made) ** 2, axis=(1, 2, 3))
    return -10 * np.log10(np.maximum(error, 1e-10))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["tokenizer"])
