"""Measure CPU and wall seconds of a start, with and without cached programs.

python benchmarks/startup.py

Runs genie-generate for four frames, genie-play until its page answers, and genie-generate
with an unknown preset, each first with an empty cache of compiled programs and then with
the programs that the first run cached. Then measures each part of a start.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROMPT = Path(__file__).parent.parent / "genie_tf/play/prompts/canyon.png"
GENERATE = ("generate", f"--prompt={PROMPT}", "--actions=1,1,4,4")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="genie_coinrun")
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    preset = f"--preset={arguments.preset}"
    if arguments.parts:
        print(json.dumps(parts(arguments.preset)))
        return
    print(
        "| part | cold: CPU s | wall s | warm: CPU s | wall s |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        output = f"--output={folder}/frames.gif"
        for name, command in (
            ("genie-generate, four frames", (*GENERATE, output, preset)),
            ("genie-play, until the page answers", ("play", preset, "--port=0")),
            ("unknown --preset", (*GENERATE, output, "--preset=nope")),
        ):
            cache = {"XDG_CACHE_HOME": f"{folder}/{command[0]} {command[-1]}"}
            cold, warm = (measure(command, cache) for _ in range(2))
            print_row(name, cold, warm)
        cache = {"XDG_CACHE_HOME": f"{folder}/parts"}
        command = [sys.executable, __file__, preset, "--parts"]
        cold, warm = (
            json.loads(
                subprocess.run(
                    command, env=os.environ | cache, check=True, stdout=subprocess.PIPE
                ).stdout
            )
            for _ in range(2)
        )
        for name, seconds in cold.items():
            print_row(name, seconds, warm[name])


def print_row(name, cold, warm):
    print(f"| {name} | {' | '.join(f'{x:.1f}' for x in (*cold, *warm))} |", flush=True)


def measure(command, environment) -> tuple[float, float]:
    """Return CPU and wall seconds until a program ends or its page answers."""
    module, *flags = command
    begin = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", f"genie_tf.experiments.{module}", *flags],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        for line in program.stdout:
            if match := re.search(r"http://\S+", line):
                with contextlib.closing(urllib.request.urlopen(match[0])) as page:
                    page.read()
                break
        else:
            os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        wall = time.monotonic() - begin
        # Includes children. Readable after the end of the program until it is waited for.
        after_name = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2]
        ticks = sum(map(int, after_name.split()[11:15]))
        program.terminate()
    return ticks / os.sysconf("SC_CLK_TCK"), wall


def parts(preset: str) -> dict[str, tuple[float, float]]:
    """Return CPU and wall seconds of each part of a start, up to the first frames."""
    seconds = {}

    @contextlib.contextmanager
    def part(name):
        cpu, wall = cpu_seconds(), time.monotonic()
        yield
        seconds[name] = cpu_seconds() - cpu, time.monotonic() - wall

    with part("import genie_tf.experiments.cli"):
        from genie_tf.experiments import cli

        cli.prepare()
    with part("import keras"):
        cli.import_keras()
    with part("import genie_tf.models, .samplers"):
        import keras

        from genie_tf.models import WorldModel
        from genie_tf.samplers import WorldSampler
    with part("build and load the model"):
        world = WorldModel.from_preset(preset)
        sampler = WorldSampler(world)
    shape = world.tokenizer.frame_shape
    prompt = keras.ops.zeros((1, 1, *shape), "uint8")
    action = keras.ops.zeros((1,), "int32")
    if keras.config.backend() == "tensorflow":
        with part("trace reset"):
            sampler._reset.get_concrete_function(prompt, None)
    with part("compile and run reset"):
        state, _ = sampler.reset(prompt)
    if keras.config.backend() == "tensorflow":
        with part("trace step"):
            arguments = state, action, action, world.dynamics.sampling_tensors()
            sampler._step.get_concrete_function(*arguments)
    with part("compile and run step"):
        sampler.step(state, action)
    with part("four steps"):
        for _ in range(4):
            state, frame = sampler.step(state, action)
        keras.ops.convert_to_numpy(frame)
    return seconds


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
