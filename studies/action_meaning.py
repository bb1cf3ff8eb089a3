"""Measure how each latent action moves the image: the tables of docs/steerability.md.

python studies/action_meaning.py --preset=genie_coinrun --dataset=coinrun/held_hard_small

The movement, in pixels down and to the right, is the shift at which two frames match best.
It is measured from one frame to the next in test clips, by inferred action, and for a Genie
also over five frames in which an action is held, after each of 32 prompts.
"""

import itertools
import os

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_BATCH, _CLIP, _PROMPTS, _HELD = 50, 16, 32, 5
# Largest shift to search: from one frame to the next, and over five frames.
_NEXT, _LATER = 6, 16


def define_flags():
    flags.DEFINE_string("preset", None, "Genie or latent action model.")
    flags.DEFINE_string("dataset", None, "TFDS name of the dataset.")
    flags.DEFINE_integer("clips", 400, "Number of test clips.", lower_bound=_BATCH)


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
            # When the character walks left, the image moves right.
            cells += [
                f"{np.mean(walks[chosen]):.0%}" for walks in (right > 0, right < 0)
            ]
            cells += [
                f"{np.mean(chosen[walks]):.0%}" for walks in (right > 0, right < 0)
            ]
        print(f"| {action} | {' | '.join(cells)} |")
    try:
        genie = Genie.from_preset(FLAGS.preset)
    except ValueError:  # The preset is a latent action model.
        return
    print("\n| held action | down, median | right | 2 or more right | 2 or more left |")
    print("|---|---|---|---|---|")
    rollouts = hold_actions(
        genie,
        videos[:_PROMPTS, _CLIP // 2],
        {"num_steps": 1, "temperature": 0.0},
        frames=_HELD,
    )
    for action, clips in enumerate(255 * rollouts.swapaxes(0, 1)):
        shifts = np.array([shift(clip[0], clip[-1], _LATER) for clip in clips])
        down, right = np.median(shifts, axis=0)
        shares = [f"{np.mean(x):.0%}" for x in (shifts[:, 1] >= 2, shifts[:, 1] <= -2)]
        print(f"| {action} | {down:.0f} | {right:.0f} | {' | '.join(shares)} |")


def shift(before, after, reach: int):
    """Return how far an image (height, width, channels) has moved, (down, right)."""
    before, after = (np.mean(x, axis=-1, dtype="float32") for x in (before, after))
    height, width = before.shape
    errors = {}
    for down, right in itertools.product(range(-reach, reach + 1), repeat=2):
        rows, columns = height - abs(down), width - abs(right)
        then = before[max(0, -down) :, max(0, -right) :][:rows, :columns]
        now = after[max(0, down) :, max(0, right) :][:rows, :columns]
        # Prefer the smaller of equal shifts.
        errors[down, right] = np.mean((then - now) ** 2) + 1e-3 * (
            abs(down) + abs(right)
        )
    return min(errors, key=errors.get)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["preset", "dataset"])
