"""What a perfect world would score: the game itself, seen through a tokenizer.

python studies/perfect_world.py --tokenizer=runs/fast/tokenizer/model

From moments of test levels, the game goes on for four frames twice: with a player's actions,
and with uniformly random ones. dPSNR_4 is then that of a world that knows all of the game's
state. But no picture shows how fast the figure is. Two more worlds know all but that: in one it
starts at rest, in the other at the speed of the last moment in which it was in the air too, or
on the ground too.
"""

import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_FRAMES = 4
_EVERY = 50  # Steps from one moment to the next.
_SIZE = np.array([0.5, 0.5787], "<f4").tobytes()  # The figure's, after its speed.


def define_flags():
    flags.DEFINE_string("tokenizer", None, "Preset of a tokenizer.")
    flags.DEFINE_string("levels", "random_hard_small", "Whose test levels are played.")
    flags.DEFINE_integer("seed", 0, "Of the random actions.", lower_bound=0)


def main():
    from tqdm import tqdm

    from genie_tf.datasets.procgen.configs import CONFIGS
    from genie_tf.datasets.procgen.environment import ACTION_NAMES, make_environment
    from genie_tf.datasets.procgen.policies import make_policy
    from genie_tf.evaluation.quality import mean
    from genie_tf.evaluation.report import format_interval
    from genie_tf.metrics.image_quality import psnr
    from genie_tf.models import VideoTokenizer

    with cli.user_errors():
        tokenizer = VideoTokenizer.from_preset(FLAGS.tokenizer)
    levels = CONFIGS["coinrun"][FLAGS.levels]
    settings = levels.settings
    policy = make_policy(settings.policy, "coinrun", settings.policy_arguments)
    rng = np.random.default_rng(FLAGS.seed)
    # Speeds (x, y) of the last moments on the ground and in the air.
    speeds = [np.zeros(2, "<f4"), np.zeros(2, "<f4")]
    found = []
    for seed in tqdm(levels.splits["test"], unit="level"):
        rngs = [np.random.default_rng((seed, 0))]  # Those of the dataset.
        policy.start_levels(settings.steps_per_level, rngs)
        actions = [policy.act(None, rngs)[0] for _ in range(settings.steps_per_level)]
        environment = make_environment("coinrun", settings.mode, seed)
        place = environment.callmethod("get_state")[0].index(_SIZE) - speeds[0].nbytes
        for step, action in enumerate(actions[:-_FRAMES]):
            if step % _EVERY == _EVERY // 2:
                state = environment.callmethod("get_state")[0]
                true = actions[step : step + _FRAMES]
                random = rng.integers(len(ACTION_NAMES), size=_FRAMES)
                speed = np.frombuffer(state, "<f4", 2, place)
                in_air = int(speed[1] != 0)
                worlds = [state]
                for other in (np.zeros_like(speed), speeds[in_air]):
                    end = place + other.nbytes
                    worlds.append(state[:place] + other.tobytes() + state[end:])
                speeds[in_air] = speed
                frames = [
                    _go_on(environment, world, keys)
                    for world in worlds
                    for keys in (true, random)
                ]
                environment.callmethod("set_state", [state])
                if all(frame is not None for frame in frames):
                    found.append(frames)
            environment.act(np.array([action], np.int32))
            environment.observe()
        environment.close()
    truth, *_ = frames = np.array(found).swapaxes(0, 1)
    scores = [
        np.array(psnr(truth, tokenizer.reconstruct({"video": made[:, None]})[:, 0]))
        for made in frames
    ]
    print(f"{len(found)} moments; true actions, random actions, dPSNR_4")
    for name in ("knows the speed", "starts at rest", "starts at another's speed"):
        true, random, *scores = scores
        cells = [
            format_interval(mean(values), 2) for values in (true, random, true - random)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _go_on(environment, state, actions):
    """The frame after some actions from a state on; None if the episode ends before."""
    environment.callmethod("set_state", [state])
    ended = False
    for action in actions:
        environment.act(np.array([action], np.int32))
        _, observation, is_first = environment.observe()
        ended |= bool(is_first[0])
    return None if ended else observation["rgb"][0].copy()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["tokenizer"])
