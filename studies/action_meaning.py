"""What each latent action does to the picture: the tables of docs/steerability.md.

python studies/action_meaning.py --preset=genie_coinrun_fast --dataset=coinrun/held_hard_small

By how many pixels the picture moves, down and to the right, as the best match of what both
pictures show says: from one frame to the next of test clips where an action was inferred; and, for a Genie,
within five frames for which it is held, after each of 32 prompts.
"""

import itertools
import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_BATCH, _CLIP, _PROMPTS, _HELD = 50, 16, 32, 5
# How far the match is looked for: from one frame to the next, and in five.
_NEXT, _LATER = 6, 16


def define_flags():
    flags.DEFINE_string("preset", None, "A Genie, or a latent action model.")
    flags.DEFINE_string("dataset", None, "TFDS name.")
    flags.DEFINE_integer("clips", 400, "Test clips.", lower_bound=_BATCH)


def main():
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.evaluation.world_evaluator import hold_actions
    from genie_tf.models import Genie, LatentActionModel

    with cli.user_errors():
        model = LatentActionModel.from_preset(FLAGS.preset)
        clips = ClipDataset(open_episodes(FLAGS.dataset, "test"), _CLIP)
        batches = clips.batches(_BATCH, seed=0)
        batches = itertools.islice(batches, FLAGS.clips // _BATCH)
    videos = [batch["video"] for batch in batches]
    actions = np.concatenate([model.infer_actions(video) for video in videos])
    videos = np.concatenate(videos)
    pairs = itertools.chain.from_iterable(map(itertools.pairwise, videos))
    shifts = np.array([shift(*pair, _NEXT) for pair in pairs])
    actions, right = actions.ravel(), shifts[:, 1]
    print(
        "| action | share | down | right | walks left | right | of all steps left | right |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for action in range(model.num_actions):
        chosen = actions == action
        cells = [f"{chosen.mean():.1%}"]
        if chosen.any():
            cells += [f"{x:.1f}" for x in shifts[chosen].mean(axis=0)]
            # Who walks to the left moves the picture to the right.
            cells += [
                f"{np.mean(walks[chosen]):.0%}" for walks in (right > 0, right < 0)
            ]
            cells += [
                f"{np.mean(chosen[walks]):.0%}" for walks in (right > 0, right < 0)
            ]
        print(f"| {action} | {' | '.join(cells)} |")
    try:
        genie = Genie.from_preset(FLAGS.preset)
    except ValueError:  # It is a latent action model alone.
        return
    print("\n| held | down, median | right | 2 to the right or more | to the left |")
    print("|---|---|---|---|---|")
    held = hold_actions(
        genie,
        videos[:_PROMPTS, _CLIP // 2],
        {"num_steps": 1, "temperature": 0.0},
        frames=_HELD,
    )
    for action, clips in enumerate(255 * held.swapaxes(0, 1)):
        moved = np.array([shift(clip[0], clip[-1], _LATER) for clip in clips])
        down, right = np.median(moved, axis=0)
        shares = [f"{np.mean(x):.0%}" for x in (moved[:, 1] >= 2, moved[:, 1] <= -2)]
        print(f"| {action} | {down:.0f} | {right:.0f} | {' | '.join(shares)} |")


def shift(before, after, reach: int):
    """Down and to the right, how far a picture (height, width, channels) has moved."""
    before, after = (np.mean(x, axis=-1, dtype="float32") for x in (before, after))
    height, width = before.shape
    errors = {}
    for down, right in itertools.product(range(-reach, reach + 1), repeat=2):
        rows, columns = height - abs(down), width - abs(right)
        then = before[max(0, -down) :, max(0, -right) :][:rows, :columns]
        now = after[max(0, down) :, max(0, right) :][:rows, :columns]
        # Of equal ones, the smaller.
        errors[down, right] = np.mean((then - now) ** 2) + 1e-3 * (
            abs(down) + abs(right)
        )
    return min(errors, key=errors.get)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["preset", "dataset"])
