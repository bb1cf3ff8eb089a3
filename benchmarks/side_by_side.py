"""Programs that take turns, so that other load on the machine affects all equally.

Used by the benchmarks that compare implementations. Each contestant runs in its own
process, on the same cores.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from unittest import mock

MATRIX, PRODUCTS = 2048, 16  # Side of the large matrices, and products per turn.
MATMUL_FLOPS = PRODUCTS * 2 * MATRIX**3
# Keep freed memory: in TensorFlow, as our programs do, and in glibc for all others.
KEEP_MEMORY = {
    "TF_CPU_ALLOCATOR_USE_BFC": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
}


@dataclasses.dataclass
class Contestant:
    name: str
    flops: float
    command: list[str]  # Starts a program that calls `serve`.

    def start(self):
        """Start the program and wait until it is warm."""
        self.seconds, self.cpu_seconds = [], []
        self.errors = tempfile.TemporaryFile("w+")
        self.program = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **KEEP_MEMORY},
        )
        self._answer()

    def take_turn(self, steps: int):
        print(steps, file=self.program.stdin, flush=True)
        seconds, cpu_seconds = map(float, self._answer().split())
        self.seconds.append(seconds)
        self.cpu_seconds.append(cpu_seconds)

    def end(self):
        self.program.stdin.close()
        self.program.wait()

    def _answer(self) -> str:
        answer = self.program.stdout.readline()
        if not answer:
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines() or ["no message"]
            sys.exit(f"The program of {self.name} ended: {lines[-1]}")
        return answer

    def summary(self, matmul: "Contestant") -> dict:
        return summary(
            self.seconds,
            self.cpu_seconds,
            self.flops,
            matmul.seconds,
            matmul.cpu_seconds,
        )


def summary(seconds, cpu_seconds, flops, matmul_seconds, matmul_cpu_seconds) -> dict:
    """Return medians over turns, and their ratio to large matrix products."""
    median = statistics.median(seconds)
    work = flops / MATMUL_FLOPS
    return {
        "seconds": median,
        "cpu_seconds": statistics.median(cpu_seconds),
        "gflop_per_s": flops / median / 1e9,
        "share_of_matmul": work * ratio(matmul_seconds, seconds),
        "cpu_share_of_matmul": work * ratio(matmul_cpu_seconds, cpu_seconds),
        "rounds": list(seconds),
        "cpu_rounds": list(cpu_seconds),
    }


def ratio(times: list[float], others: list[float]) -> float:
    """Return the median over rounds of the ratio of two times in the same round."""
    pairs = zip(times, others, strict=True)
    return statistics.median(one / other for one, other in pairs)


def serve(step, wait):
    """For each number on stdin, run that many steps; answer with seconds per step.

    The answer has wall time and the CPU time of this process, which depends less on other
    load on the machine.

    Args:
        step: function that starts a step and returns an argument for `wait`.
        wait: function that returns when the step is done.
    """
    answers = os.fdopen(int(os.environ["ANSWERS"]), "w")
    for _ in range(2):
        wait(step())
    print("warm", file=answers, flush=True)
    for line in sys.stdin:
        print(*measure(step, wait, int(line)), file=answers, flush=True)


def measure(step, wait, steps: int) -> tuple[float, float]:
    """Return wall seconds and CPU seconds per step."""
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(steps):
        result = step()
    wait(result)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    return seconds / steps, cpu / steps


def serve_matmul():
    import tensorflow as tf

    one, other = (tf.random.stateless_normal((MATRIX, MATRIX), (0, i)) for i in (0, 1))
    serve(
        lambda: [tf.matmul(one, other) for _ in range(PRODUCTS)],
        lambda products: products[-1][0, 0].numpy(),
    )


def stub(*names: str):
    """Replace modules that a step does not need by empty ones."""
    for name in names:
        module = mock.MagicMock(__spec__=None)
        sys.modules[name] = module


def run(programs: Mapping[str, Callable], main: Callable, define_flags: Callable):
    """Run the program named by the first argument, or else `main`."""
    if sys.argv[1:] and sys.argv[1] in programs:
        # Output of libraries must not be read as an answer.
        os.environ["ANSWERS"] = str(os.dup(1))
        os.dup2(2, 1)
        programs[sys.argv[1]](*sys.argv[2:])
        return
    from genie_tf.experiments import cli

    cli.run(main, define_flags)
