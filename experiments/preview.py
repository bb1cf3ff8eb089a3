"""Show what is in a dataset, before a model is trained on it.

genie-preview --dataset=coinrun/random_hard_small --output=runs/preview

Accepts every dataset that training accepts: TFDS names of RLDS datasets, built first if
necessary, video_folder/NAME, folders of TFDS datasets and folders of arrays. Writes

contact_sheet.png: eight frames of each of eight random episodes of the split;
clips.mp4: up to sixteen random clips of the split, short ones held at the last frame;
statistics.md, statistics.json: for every split, numbers and lengths of episodes, bytes
    on disk, pixels, actions and rewards.

Decodes few frames, and reads actions and rewards of at most 10,000 episodes per split.
Equal seeds give equal files. MP4 needs PyAV: pip install genie_tf[mp4].
"""

import json
import math
from collections.abc import Sequence

import numpy as np
from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_NUM_EPISODES, _NUM_FRAMES = 8, 8  # Of the contact sheet.
_NUM_CLIPS, _CLIP_LENGTH = 16, 50
# Frames up to half as high are enlarged, and higher ones are scaled down.
_HEIGHT = 128


def define_flags() -> None:
    cli.define_path("dataset", None, "TFDS name, or folder of a dataset.")
    flags.DEFINE_string("split", "train", "Split to show.")
    cli.define_path("output", "runs/preview", "Output folder.")
    flags.DEFINE_string("camera", None, "Observation that holds the frames.")
    flags.DEFINE_float(
        "fps",
        10,
        "Frames per second of clips.mp4.",
        lower_bound=0.01,
        upper_bound=1000,
    )
    flags.DEFINE_integer("seed", 0, "Seed of episodes and clips.", lower_bound=0)
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")


def main() -> None:
    from genie_tf import media
    from genie_tf.datasets.episodes import open_episodes, split_names
    from genie_tf.datasets.summary import summarize
    from genie_tf.files import replacing

    cli.check_folder(FLAGS.output)

    def open_split(split):
        episodes = open_episodes(FLAGS.dataset, split, FLAGS.data_dir, FLAGS.camera)
        if not len(episodes.lengths):
            raise ValueError(f"The split {split!r} of {FLAGS.dataset!r} is empty.")
        return episodes

    rng = np.random.default_rng(FLAGS.seed)
    with cli.user_errors():
        episodes = open_split(FLAGS.split)
        names = split_names(FLAGS.dataset, FLAGS.data_dir)
        splits = summarize({name: open_split(name) for name in names}, FLAGS.seed)
        size, scale = choose_size(episodes)
        rows, labels = choose_frames(episodes, size, rng)
        clips = choose_clips(episodes, size, rng)
    statistics = {"dataset": FLAGS.dataset, "camera": FLAGS.camera, "splits": splits}
    texts = {
        "statistics.json": json.dumps(statistics, indent=1) + "\n",
        "statistics.md": to_markdown(FLAGS.dataset, splits),
    }
    folder = cli.make_folder(FLAGS.output)
    video = folder / "clips.mp4"
    with cli.user_errors():
        media.save_image_grid(folder / "contact_sheet.png", rows, labels, scale)
        for name, text in texts.items():
            with replacing(folder / name) as path:
                path.write_text(text)
        try:
            media.save_mp4(video, media.grid(clips, scale=scale), FLAGS.fps)
        except ImportError as error:
            # An earlier file would not match the others.
            video.unlink(missing_ok=True)
            print(f"Left out: {video}. {error}")
    print(f"Wrote {folder}/statistics.md, statistics.json and images.")


# Images.


def choose_size(episodes) -> tuple[tuple[int, int], int]:
    """Choose the size at which a grid of frames fits on a screen.

    Args:
        episodes: episodes of one split.

    Returns:
        The (height, width) to scale frames to, at most that of the first one, and the
        factor by which the result is then enlarged.
    """
    height, width, _ = episodes.frame_shape
    factor = min(1, _HEIGHT / height)
    size = round(factor * height), max(1, round(factor * width))
    return size, max(1, _HEIGHT // height)


def choose_frames(episodes, size: tuple[int, int], rng: np.random.Generator):
    """Choose evenly spaced frames of random episodes, from the first to the last.

    Args:
        episodes: episodes of one split.
        size: (height, width) of the frames.
        rng: generator that chooses the episodes.

    Returns:
        The frames of each episode, uint8 (frames, height, width, 3), and a label each.
    """
    rows, labels = [], []
    for episode in _choose_episodes(episodes, _NUM_EPISODES, rng):
        length = episodes.lengths[episode]
        positions = np.linspace(0, length - 1, _NUM_FRAMES).round().astype(int)
        rows.append(_read_frames(episodes, episode, positions, size))
        labels.append(f"episode {episode}, {length:,} frames")
    return rows, labels


def choose_clips(episodes, size: tuple[int, int], rng: np.random.Generator):
    """Choose clips that start at random frames of random episodes.

    Args:
        episodes: episodes of one split.
        size: (height, width) of the frames.
        rng: generator that chooses the clips.

    Returns:
        Rows of a grid of clips, uint8 (time, height, width, 3), all of one length: a
        clip whose episode ends early repeats its last frame.
    """
    chosen = _choose_episodes(episodes, _NUM_CLIPS, rng)
    lengths = episodes.lengths[chosen]
    clip_length = min(_CLIP_LENGTH, lengths.max())
    clips = []
    for episode, length in zip(chosen, lengths, strict=True):
        start = rng.integers(max(0, length - clip_length), endpoint=True)
        positions = np.minimum(start + np.arange(clip_length), length - 1)
        clips.append(_read_frames(episodes, episode, positions, size))
    num_rows = math.isqrt(len(clips))
    columns = len(clips) // num_rows
    return [clips[row * columns :][:columns] for row in range(num_rows)]


def _choose_episodes(episodes, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sorted indices of `number` random episodes, or of all if fewer."""
    total = len(episodes.lengths)
    return np.sort(rng.choice(total, min(number, total), replace=False))


def _read_frames(
    episodes, episode: int, positions: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    from genie_tf.datasets.frames import fit_frame

    # One by one, because sizes can differ.
    clips = [episodes.read_clips([(episode, i)], 1) for i in positions]
    return np.stack([fit_frame(clip["video"][0, 0], size) for clip in clips])


# Text.


def to_markdown(dataset: str, splits: dict[str, dict]) -> str:
    """Format the result of `summarize` as tables with a column for each split.

    Args:
        dataset: name of the dataset.
        splits: result of `summarize`.
    """
    actions = {name: x["actions"] for name, x in splits.items() if "actions" in x}
    names = next((x["names"] for x in actions.values() if "names" in x), ())
    rewards = {name: x["rewards"] for name, x in splits.items() if "rewards" in x}
    known = sorted({int(key) for x in actions.values() for key in x["counts"]})
    return f"""# {dataset}

{_table("", {name: _sizes(x) for name, x in splits.items()})}

Pixels are red, green and blue values, from 0 to 255, of the frames read.

## Lengths of episodes

{_table("frames", {name: _lengths(x) for name, x in splits.items()})}

## Actions

{_table("action", {name: _actions(x, known, names) for name, x in actions.items()})}

## Rewards

{_table("", {name: _rewards(x) for name, x in rewards.items()})}
"""


def _sizes(split: dict) -> dict[str, str]:
    lengths, pixels = split["lengths"], split["pixels"]
    return {
        "episodes": f"{split['episodes']:,}",
        "frames": f"{split['frames']:,}",
        "shortest episode": f"{lengths['min']:,}",
        "median": f"{lengths['median']:,g}",
        "mean": f"{lengths['mean']:,.1f}",
        "longest": f"{lengths['max']:,}",
        "bytes on disk": f"{split['bytes']:,}",
        "bytes per frame": f"{split['bytes_per_frame']:,.0f}",
        "frames read": f"{pixels['frames']:,}",
        "height x width": ", ".join(f"{h}x{w}" for h, w in pixels["sizes"]),
        "pixels, mean": ", ".join(f"{value:.1f}" for value in pixels["mean"]),
        "pixels, standard deviation": ", ".join(f"{x:.1f}" for x in pixels["std"]),
    }


def _lengths(split: dict) -> dict[str, str]:
    return {
        f"{bar['from']:,} to {bar['to']:,}": _share(bar["episodes"], split["episodes"])
        for bar in split["lengths"]["histogram"]
    }


def _actions(actions: dict, known: list[int], names: Sequence[str]) -> dict[str, str]:
    counts = actions["counts"]
    total = sum(counts.values())
    labels = {key: f"{key}" for key in known}
    labels |= {key: f"{key} {name}" for key, name in enumerate(names) if key in known}
    shares = {labels[key]: _share(counts.get(f"{key}", 0), total) for key in known}
    return {**shares, "episodes read": f"{actions['episodes']:,}"}


def _rewards(rewards: dict) -> dict[str, str]:
    return {
        "sum": f"{rewards['sum']:,g}",
        "mean per episode": f"{rewards['mean']:,.3g}",
        "episodes with a reward": _share(rewards["nonzero"], rewards["episodes"]),
        "episodes read": f"{rewards['episodes']:,}",
    }


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})"


def _table(corner: str, columns: dict[str, dict[str, str]]) -> str:
    """Return columns that share their rows as a table, or a sentence if none."""
    if not columns:
        return "The dataset has none."
    rows = next(iter(columns.values()))
    lines = [[corner, *columns], ["---"] * (1 + len(columns))]
    lines += [[row, *(column[row] for column in columns.values())] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run() -> None:
    cli.run(main, define_flags, required=["dataset"])


if __name__ == "__main__":
    run()
