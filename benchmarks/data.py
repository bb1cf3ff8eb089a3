"""Measure speed, size and memory of writing and reading CoinRun.

python benchmarks/data.py --json=data.json
git clone https://github.com/FLAIROx/jafar
python benchmarks/data.py --json=data.json --jafar=jafar --peers_python=peers/bin/python

Builds 500 levels of 1,000 steps of hard CoinRun in a temporary folder and reads clips of
16 frames from it in random order: frames, the tokens of a token cache (random tokens, which
need no tokenizer), and both. For comparison, plain `tfds.load` reads the same steps in
order, and Jafar's loader reads the same episodes from .npy files, as Jafar stores them.

Jafar's loader is `utils/dataloader.py`, run by a Python with jax. It needs only a
`DataLoader` without workers from PyTorch, which this file replaces by a loop over shuffled
examples.

CPU time, including child processes, is printed next to the speed. Compare CPU times if
other programs are running.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import types
from concurrent import futures

import numpy as np
import side_by_side

SECONDS = 20
STEPS = 1_000
CLIP_LENGTH = 16
BATCH = 48
PATCHES = 256


def measure(action) -> dict[str, float]:
    """Return frames per second and CPU time per frame; `action` returns the frames."""
    start, cpu = time.perf_counter(), sum(os.times()[:4])
    num_frames = action()
    seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - cpu
    return {
        "frames": num_frames,
        "frames_per_second": round(num_frames / seconds),
        "cpu_microseconds_per_frame": round(cpu / num_frames * 1e6, 2),
    }


def measure_batches(batches) -> dict[str, float]:
    """Measure how fast batches (clips, time, ...) arrive after the first one."""

    def count() -> int:
        num_frames, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            batch = next(batches)
            num_frames += batch.shape[0] * batch.shape[1]
        return num_frames

    next(batches)
    return measure(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, default=500, help="number of levels")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--folder", help="parent of the temporary folder")
    parser.add_argument("--jafar", help="clone of Jafar")
    parser.add_argument(
        "--peers_python", default=sys.executable, help="Python with jax"
    )
    parser.add_argument("--read_with", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read_with:
        print(json.dumps(read_with_jafar(args.jafar, args.read_with)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        results = {"cores": len(os.sched_getaffinity(0))}
        results["write"] = write(args.levels, folder)
        results.update(read(folder))
        if args.jafar:
            results["Jafar's loader"] = run_jafar(args, folder)
    print(json.dumps(results, indent=2))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=2)


def write(num_levels: int, folder: str) -> dict[str, float]:
    """Build the dataset coinrun/benchmark."""
    from genie_tf.datasets.coinrun.coinrun_dataset_builder import Builder, CoinRunConfig

    levels = {"train": f"0:{num_levels}"}
    config = CoinRunConfig(name="benchmark", levels=levels, steps_per_level=STEPS)
    builder = Builder(config=config, data_dir=folder)

    def build() -> int:
        builder.download_and_prepare()
        return num_levels * STEPS

    with futures.ThreadPoolExecutor() as pool:
        building = pool.submit(measure, build)
        largest = 0
        while not building.done():
            largest = max(largest, resident_bytes())
            time.sleep(0.5)
    results = building.result()
    results["peak_memory_mib"] = largest >> 20
    results["bytes_per_frame"] = round(builder.info.dataset_size / build(), 1)
    return results


def resident_bytes() -> int:
    """Return the memory of this process and its children; shared pages count for each."""
    children = pathlib.Path("/proc/self/task").glob("*/children")
    processes = [
        "self",
        *(pid for path in children for pid in path.read_text().split()),
    ]
    pages = 0
    for process in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages += int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def read(folder: str) -> dict[str, dict]:
    """Measure reading frames and tokens."""
    import tensorflow_datasets as tfds

    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.datasets.token_cache import write_token_cache

    tokens = f"{folder}/tokens"
    rng = np.random.default_rng(0)
    write_token_cache(
        tokens,
        "coinrun/benchmark",
        lambda video: rng.integers(1024, size=(*video.shape[:2], PATCHES)),
        tokenizer="random",
        frame_shape=(64, 64, 3),
        num_patches=PATCHES,
        data_dir=folder,
    )

    def open_clips(dataset="coinrun/benchmark", start_step=0, **settings):
        episodes = open_episodes(dataset, "train", folder, **settings)
        return ClipDataset(episodes, CLIP_LENGTH).batches(BATCH, 0, start_step)

    def read_clips(column, **settings) -> dict[str, float]:
        batches = open_clips(**settings)
        results = measure_batches(batch[column] for batch in batches)
        batches.close()
        return results

    def seconds_to_start(step: int) -> float:
        start = time.perf_counter()
        batches = open_clips(start_step=step)
        next(batches)
        batches.close()
        return round(time.perf_counter() - start, 2)

    def steps():
        episodes = tfds.load("coinrun/benchmark", split="train", data_dir=folder)
        all_steps = episodes.flat_map(lambda episode: episode["steps"]).repeat()
        for batch in all_steps.batch(BATCH * CLIP_LENGTH):
            yield batch["observation"][None]

    cache = {"dataset": tokens, "tokenizer": "random"}
    return {
        "ClipDataset": read_clips("video"),
        "ClipDataset, tokens": read_clips("tokens", video=False, **cache),
        "ClipDataset, tokens and frames": read_clips("video", **cache),
        "tfds.load": measure_batches(steps()),
        "seconds_to_first_batch": {
            f"at step {step:,}": seconds_to_start(step) for step in (0, 100_000)
        },
    }


def run_jafar(args: argparse.Namespace, folder: str) -> dict[str, float]:
    """Store the episodes as Jafar does, and measure reading them in another process."""
    from genie_tf.datasets.episodes import open_episodes

    stored = pathlib.Path(folder) / "jafar"
    stored.mkdir()
    episodes = open_episodes("coinrun/benchmark", "train", folder)
    metadata = []
    for episode in np.flatnonzero(episodes.lengths >= CLIP_LENGTH):
        path = stored / f"{episode}.npy"
        np.save(path, episodes.read_episode(episode)[0])
        metadata.append({"path": str(path)})
    np.save(stored / "metadata.npy", metadata)
    command = [args.peers_python, __file__, f"--jafar={args.jafar}"]
    answer = subprocess.run(
        [*command, f"--read_with={stored}"],
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | side_by_side.KEEP_MEMORY,
    )
    return json.loads(answer.stdout)


def read_with_jafar(clone: str, stored: str) -> dict[str, float]:
    """Measure reading clips with Jafar's `get_dataloader`."""

    def data_loader(dataset, batch_size, shuffle, collate_fn):
        while shuffle:
            order = np.random.permutation(len(dataset))
            for first in range(0, len(order), batch_size):
                part = order[first : first + batch_size]
                yield collate_fn([dataset[i] for i in part])

    torch_data = types.ModuleType("torch.utils.data")
    torch_data.Dataset, torch_data.DataLoader = object, data_loader
    for name in ("torch", "torch.utils", "torch.utils.data"):
        sys.modules[name] = torch_data
    sys.path.insert(0, clone)
    from utils.dataloader import get_dataloader

    return measure_batches(get_dataloader(stored, CLIP_LENGTH, BATCH))


if __name__ == "__main__":
    main()
