"""Writes CoinRun and reads it again: speed, size and memory.

python benchmarks/data.py --json=data.json

Builds 500 levels of 1,000 steps of hard CoinRun in a temporary folder, then reads
shuffled clips of 16 frames from it, and, to compare, the same steps by plain
`tfds.load`. Processor time is printed beside the speed: where other programs are
running, it is the one to go by.
"""

import argparse
import json
import os
import resource
import tempfile
import time

import tensorflow_datasets as tfds
from genie_tf.datasets import clips
from genie_tf.datasets.coinrun.coinrun_dataset_builder import Builder, CoinRunConfig

SECONDS = 20
STEPS = 1_000


def measure(action) -> dict[str, float]:
    """Frames a second, and microseconds of processor time a frame; `action` counts."""
    start, cpu = time.perf_counter(), time.process_time()
    num_frames = action()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "frames": num_frames,
        "frames_per_second": round(num_frames / seconds),
        "cpu_microseconds_per_frame": round(cpu / num_frames * 1e6, 1),
    }


def read_clips(data_dir: str) -> int:
    batches = clips.clip_batches(
        "coinrun/benchmark",
        "train",
        clip_length=16,
        batch_size=48,
        seed=0,
        data_dir=data_dir,
    )
    num_frames, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        num_frames += next(batches)["video"][..., 0, 0, 0].size
    batches.close()
    return num_frames


def read_steps(data_dir: str) -> int:
    episodes = tfds.load("coinrun/benchmark", split="train", data_dir=data_dir)
    num_frames, end = 0, time.monotonic() + SECONDS
    for steps in episodes.flat_map(lambda episode: episode["steps"]).batch(16):
        num_frames += len(steps["observation"])
        if time.monotonic() > end:
            break
    return num_frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, default=500, help="levels to play")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--folder", help="where to make the temporary folder")
    args = parser.parse_args()
    config = CoinRunConfig(
        name="benchmark", levels={"train": f"0:{args.levels}"}, steps_per_level=STEPS
    )

    with tempfile.TemporaryDirectory(dir=args.folder) as data_dir:
        builder = Builder(config=config, data_dir=data_dir)

        def write() -> int:
            builder.download_and_prepare()
            return args.levels * STEPS

        results = {"cores": len(os.sched_getaffinity(0)), "write": measure(write)}
        results["write"]["peak_memory_mib"] = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        )
        results["write"]["bytes_per_frame"] = round(
            builder.info.dataset_size / (args.levels * STEPS), 1
        )
        results["clip_batches"] = measure(lambda: read_clips(data_dir))
        results["tfds.load"] = measure(lambda: read_steps(data_dir))

    print(json.dumps(results, indent=2))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
