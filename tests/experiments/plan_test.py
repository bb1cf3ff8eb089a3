"""Plans of published settings, compared with Genie's paper."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from genie_tf.experiments import configs, published
from genie_tf.experiments.plan import plan
from genie_tf.testing.tiny_models import tiny_tokenizer

TOKENIZER = f"{Path(configs.__file__).parent / 'platformers_tokenizer.py'}:paper"
DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(name, **changes):
    """Return the config of a name such as "platformers_genie:41m", with changes."""
    config = published.load(name)
    if "tokenizer" in config:
        config.tokenizer = TOKENIZER
    config.update(changes)
    return config


def parse_numbers(text, start):
    """Return the numbers in the line that starts with `start`."""
    line = next(line for line in text.splitlines() if line.startswith(f"{start} "))
    numbers = re.findall(r" ([\d,]+\.\d+(?:e\+\d+)?)", line)
    return [float(number.replace(",", "")) for number in numbers]


@pytest.mark.parametrize(
    ("name", "part", "batch_size", "flops"),
    [
        # Genie, tables 6 and 12.
        ("platformers_tokenizer:paper", "tokenizer", 64, 4.22e20),
        ("platformers_tokenizer:paper", "tokenizer", 384, 2.57e21),
        ("platformers_genie:10.1b", "dynamics", 512, 6.6e22),
    ],
)
def test_flops_match_paper(name, part, batch_size, flops):
    config = load(name, batch_size=batch_size)
    text = plan(config, 64, device_memory_gb=32, device_tflops=100)
    actual = parse_numbers(text, part)[-1] * config.steps
    print(f"\n{name}, batch of {batch_size}: {actual:.3g}, published {flops:.3g}")
    assert actual == pytest.approx(flops, rel=0.15)


@pytest.mark.parametrize(
    ("size", "devices", "device_tflops", "published_days"),
    [
        # Genie, table 10. The peak of a TPU v2 is 46 TFLOP/s, of a TPU v3, 123.
        ("41m", 64, 46, 3),
        ("404m", 64, 46, 18),
        ("1.6b", 128, 123, 12),
    ],
)
def test_days_match_paper_at_half_of_peak(size, devices, device_tflops, published_days):
    config = load(f"platformers_genie:{size}")
    text = plan(config, devices, 16, device_tflops, utilization=0.5)
    actual = float(re.search(r"([\d.,]+) days", text)[1])
    print(f"\n{size}: {actual} days, published {published_days}")
    assert actual == pytest.approx(published_days, rel=0.15)


_LARGEST = """
import re, sys
from pathlib import Path
from genie_tf.experiments import published
from genie_tf.experiments.plan import plan

config = published.load("platformers_genie:10.1b")
config.update(tokenizer=sys.argv[1], remat=True, accumulate=2)
text = plan(config, 256, 32, 459, 0.4)
# ru_maxrss would include memory of the parent process.
print(re.search("VmHWM:(.*) kB", Path("/proc/self/status").read_text())[1])
print(text)
"""


def test_largest_plan_needs_little_memory_and_matches_docs():
    command = [sys.executable, "-c", _LARGEST, TOKENIZER]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    kilobytes, _, text = ended.stdout.partition("\n")
    # TensorFlow takes nearly all of it; the weights would take 42 GB.
    assert int(kilobytes) < 1e6
    assert text.strip() in (DOCS / "scaling.md").read_text()


def test_memory_per_layout():
    plain, remat = (
        plan(load("platformers_genie:10.1b", remat=remat, accumulate=2), 256, 32, 459)
        for remat in (False, True)
    )
    # 4 bytes for each of 10.6 billion weights, and twice that for trained ones.
    assert parse_numbers(plain, "data parallel")[:3] == [42.5, 83.5, 83.5]
    assert parse_numbers(plain, "ZeRO-3")[:3] == [0.2, 0.3, 0.3]
    # 36 heads divide evenly among 4 devices, but not among 8.
    assert "data:64,model:4" in plain
    assert [line.endswith("fits") for line in remat.splitlines()[-3:]] == [0, 1, 0]
    assert not re.search("fits$", plain, re.MULTILINE)


def test_plan_accepts_trained_tokenizer(tmp_path):
    frames = {"frame_shape": (64, 64, 3), "patch_size": 8}
    tiny_tokenizer(**frames).save_to_preset(tmp_path / "model", "A card.")
    text = plan(load("coinrun_genie:tiny", tokenizer=str(tmp_path / "model")), 1, 8, 1)
    parameters = tiny_tokenizer(**frames).count_params()
    assert parse_numbers(text, "tokenizer")[0] == round(parameters / 1e6, 1)
    # Muon runs on each device and has fewer moments.
    assert parse_numbers(text, "Muon")


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"devices": 0}, "--devices must be more than 0; is 0."),
        (
            {},
            {"device_memory_gb": -1},
            "--device_memory_gb must be more than 0; is -1.",
        ),
        ({}, {"device_tflops": 0}, "--device_tflops must be more than 0; is 0."),
        ({}, {"utilization": 0}, "--utilization must be more than 0; is 0."),
        ({}, {"utilization": 1.5}, "--utilization must be 1 or less; is 1.5."),
        (
            {"accumulate": 2},
            {"devices": 8},
            "config.batch_size must divide evenly among --devices=8 and "
            "config.accumulate=2 parts each; is 8.",
        ),
        (
            {},
            {"model_parallel": 3},
            "--model_parallel must divide --devices=4 and all heads and hidden widths, "
            "so 4 is the largest choice; is 3.",
        ),
        (
            {"tokenizer": ""},
            {},
            "--config.tokenizer must be the folder of a trained tokenizer, or "
            "NAME:SIZE of a tokenizer config; is ''.",
        ),
        (
            {"tokenizer": "missing.py:paper"},
            {},
            "--config.tokenizer must be the folder of a trained tokenizer, or "
            "NAME:SIZE of a tokenizer config; is 'missing.py:paper'.",
        ),
    ],
)
def test_invalid_arguments_are_rejected_in_one_sentence(changes, arguments, message):
    tokenizer = Path(configs.__file__).parent / "coinrun_tokenizer.py"
    config = load("coinrun_genie:tiny", **{"tokenizer": f"{tokenizer}:tiny", **changes})
    sizes = {"devices": 4, "device_memory_gb": 8, "device_tflops": 1, **arguments}
    with pytest.raises(ValueError) as error:
        plan(config, **sizes)
    assert str(error.value) == message
