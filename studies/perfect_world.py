"""Measure the score of a perfect world model: the game itself, through a tokenizer.

python studies/perfect_world.py --tokenizer=runs/fast/tokenizer/model

From moments of test levels, the game continues for four frames twice: with the policy's
actions and with uniformly random ones. The result is the dPSNR_4 of a world that knows the
complete state of the game. But a single frame does not show the character's velocity. Two
more worlds know everything else: in one the character starts at rest; in the other it has
its velocity from the last moment in which it was also in the air, or also on the ground.
"""

import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_FRAMES = 4
_EVERY = 50  # Steps between moments.
# Size of the character, which the state has after its velocity.
_SIZE = np.array([0.5, 0.5787], "<f4").tobytes()


def define_flags():
    flags.DEFINE_string("tokenizer", None, "Preset of a tokenizer.")
    flags.DEFINE_string("levels", "random_hard_small", "Config of the test levels.")
    flags.DEFINE_integer("seed", 0, "Seed of the random actions.", lower_bound=0)


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
    # Velocity (x, y) at the last moment on the ground and in the air.
    velocities = [np.zeros(2, "<f4"), np.zeros(2, "<f4")]
    moments = []
    for seed in tqdm(levels.splits["test"], unit="level"):
        rngs = [np.random.default_rng((seed, 0))]  # The same as for the dataset.
        policy.start_levels(settings.steps_per_level, rngs)
        actions = [policy.act(None, rngs)[0] for _ in range(settings.steps_per_level)]
        environment = make_environment("coinrun", settings.mode, seed)
        offset = environment.callmethod("get_state")[0].index(_SIZE)
        offset -= velocities[0].nbytes
        for step, action in enumerate(actions[:-_FRAMES]):
            if step % _EVERY == _EVERY // 2:
                state = environment.callmethod("get_state")[0]
                true = actions[step : step + _FRAMES]
                random = rng.integers(len(ACTION_NAMES), size=_FRAMES)
                velocity = np.frombuffer(state, "<f4", 2, offset)
                in_air = int(velocity[1] != 0)
                states = [state]
                for other in (np.zeros_like(velocity), velocities[in_air]):
                    end = offset + other.nbytes
                    states.append(state[:offset] + other.tobytes() + state[end:])
                velocities[in_air] = velocity
                frames = [
                    _play(environment, start, keys)
                    for start in states
                    for keys in (true, random)
                ]
                environment.callmethod("set_state", [state])
                if all(frame is not None for frame in frames):
                    moments.append(frames)
            environment.act(np.array([action], np.int32))
            environment.observe()
        environment.close()
    truth, *_ = frames = np.array(moments).swapaxes(0, 1)
    scores = [
        np.array(psnr(truth, tokenizer.reconstruct({"video": images[:, None]})[:, 0]))
        for images in frames
    ]
    print(f"{len(moments)} moments; true actions, random actions, dPSNR_4")
    for name in (
        "knows the velocity",
        "starts at rest",
        "starts with another moment's velocity",
    ):
        true, random, *scores = scores
        cells = [
            format_interval(mean(values), 2) for values in (true, random, true - random)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _play(environment, state, actions):
    """Return the frame after actions from a state, or None if the episode ends."""
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
