"""Reads from XLA's text of a compiled program what chips send to each other."""

import collections
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([\w-]+)\(")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """An exchange between chips.

    Args:
        kind: name in XLA, such as "all-gather".
        sent: bytes that each chip sends in one call, if those that exchange form a ring.
        calls: calls per call of the program.
    """

    kind: str
    sent: float
    calls: int


def find_collectives(text: str) -> list[Collective]:
    """Return the exchanges between chips in a compiled program.

    Args:
        text: the program in HLO, of `jax.stages.Compiled.as_text`.
    """
    entry, computations = _split(text)
    found = []
    seen = set()
    for name, calls in _count_calls(entry, computations).items():
        for line in computations[name]:
            instruction = _INSTRUCTION.match(line)
            kind = instruction and instruction[2].removesuffix("-start")
            if kind not in _KINDS:
                continue
            # XLA splits an exchange to compute meanwhile, and repeats it in each part.
            channel = re.search(r"channel_id=\d+", line)
            if channel and (kind, channel[0]) in seen:
                continue
            seen.add((kind, channel and channel[0]))
            result = instruction[1]
            if instruction[2].endswith("-start"):
                result = _second(result)
            scatters = name.startswith("all-reduce-scatter")
            sent = _sent(kind, _num_bytes(result), _group_size(line), scatters)
            found.append(Collective(kind, sent, calls))
    return found


def _split(text: str) -> tuple[str, dict[str, list[str]]]:
    """Return the name of the program, and the lines of each of its computations."""
    entry, name, computations = "", "", {}
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start:
            name = start[2]
            computations[name] = []
            if start[1]:
                entry = name
        elif name:
            computations[name].append(line)
    return entry, computations


def _count_calls(entry: str, computations: Mapping[str, list[str]]) -> dict[str, int]:
    """Return how often each computation is called."""
    calls = collections.Counter()

    def visit(name: str, times: int) -> None:
        calls[name] += times
        for line in computations[name]:
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += re.findall(r"[\w.-]+", branches)
            repeats = _trip_count(line, computations) if " while(" in line else 1
            for other in called:
                if other in computations:
                    visit(other, times * repeats)

    visit(entry, 1)
    return calls


def _trip_count(line: str, computations: Mapping[str, list[str]]) -> int:
    """Return how often a loop runs; 1 if the program does not say."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
    if known:
        return int(known[1])
    condition = re.search(r"condition=%?([\w.-]+)", line)
    lines = computations.get(condition[1], []) if condition else []
    limits = re.findall(r"s32\[\]\S* constant\((\d+)\)", "\n".join(lines))
    return int(limits[0]) if len(limits) == 1 else 1


def _num_bytes(shapes: str) -> float:
    """Return the bytes of all arrays in a type such as "(bf16[8,2]{1,0}, f32[])"."""
    return sum(
        int(bits or 8) / 8 * math.prod(map(int, filter(None, sizes.split(","))))
        for _, bits, sizes in _ARRAY.findall(shapes)
    )


def _second(shapes: str) -> str:
    """Return the second half of the arrays of a type: the results of an exchange."""
    arrays = [match[0] for match in _ARRAY.finditer(shapes)]
    # A permutation's type ends with two numbers for the hardware.
    arrays = [array for array in arrays if array != "u32[]"]
    return " ".join(arrays[len(arrays) // 2 :])


def _group_size(line: str) -> int:
    """Return the number of chips that exchange with each other."""
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]<=", line)
    if iota:
        return int(iota[1])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    return len(listed[1].split(",")) if listed else 2


def _sent(kind: str, result: float, group: int, scatters: bool) -> float:
    """Return the bytes that each chip of a ring sends.

    Args:
        kind: see `Collective`.
        result: bytes of the result.
        group: number of chips in the ring.
        scatters: whether each chip keeps only its share of the result.
    """
    if kind == "collective-permute":
        return result
    whole = result * group if kind == "reduce-scatter" else result
    rounds = 2 if kind == "all-reduce" and not scatters else 1
    return rounds * whole * (group - 1) / group
