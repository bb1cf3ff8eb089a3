"""Tests of decoding in worker processes, and of everything that can end them."""

import concurrent.futures
import io
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genie_tf.media import decoder_process
from genie_tf.media.prompt_images import decode_prompt_image


def encoded(image, kind="PNG", **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def gif_with_a_comment(megabytes):
    """Return a GIF with one-byte comment blocks, which Pillow reads in quadratic time."""
    gif = encoded(Image.new("L", (8, 8)), "GIF")
    position = gif.index(b",")  # Start of the pixels.
    comment = b"!\xfe" + b"\x01a" * (megabytes << 19) + b"\0"
    return gif[:position] + comment + gif[position:]


SLOW = gif_with_a_comment(14)


@pytest.fixture(autouse=True)
def no_idle_workers():
    decoder_process._idle.clear()


def test_frame_has_pixels_of_image():
    pixels = np.random.default_rng(0).integers(256, size=(48, 64, 3)).astype("uint8")
    content = encoded(Image.fromarray(pixels))
    np.testing.assert_array_equal(decode_prompt_image(content, 48, 64), pixels)
    padded = decode_prompt_image(content, 96, 64, fit="pad")
    np.testing.assert_array_equal(padded[24:-24], pixels)
    assert not padded[:24].any() and not padded[-24:].any()


def test_next_image_reuses_process():
    content = encoded(Image.new("L", (8, 8)))
    decode_prompt_image(content, 8, 8)
    (worker,) = decoder_process._idle
    with pytest.raises(ValueError):
        decode_prompt_image(b"", 8, 8)
    decode_prompt_image(content, 8, 8)
    assert decoder_process._idle == [worker]


def test_threads_decode_concurrently():
    images = [encoded(Image.new("L", (8, 8), 20 * level)) for level in range(12)]
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        frames = threads.map(lambda content: decode_prompt_image(content, 1, 1), images)
    assert [frame[0, 0, 0] for frame in frames] == [20 * level for level in range(12)]
    assert len(decoder_process._idle) <= decoder_process._MAX_IDLE


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it cannot be read as a PNG, JPEG or GIF image"),
        (bytes(16 * 2**20), "it cannot be read as a PNG, JPEG or GIF image"),
        (bytes(16 * 2**20 + 1), "it is larger than 16 MiB"),
        (SLOW, "decoding it takes more than 0.3 s of CPU time"),
    ],
    ids=["empty", "zeros", "large", "slow"],
)
def test_unusable_input_is_rejected_in_one_sentence(content, problem):
    assert_rejected(content, problem, seconds=0.3)


@pytest.mark.parametrize("height", [0, -1, 8.5])
def test_invalid_frame_size_is_rejected(height):
    with pytest.raises(ValueError) as error:
        decode_prompt_image(b"", height, 8)
    assert str(error.value) == (
        "The height and width of a frame must be positive integers; received "
        f"{height} x 8."
    )


def test_unknown_fit_is_rejected():
    with pytest.raises(ValueError) as error:
        decode_prompt_image(b"", 8, 8, fit="stretch")
    assert str(error.value) == "`fit` must be one of crop, pad; received stretch."


@pytest.fixture
def worker():
    """Worker that decodes next."""
    decode_prompt_image(encoded(Image.new("L", (8, 8))), 8, 8)
    (worker,) = decoder_process._idle
    return worker


def assert_rejected(content, problem, **settings):
    """Check that content is rejected and that the next image is read."""
    with pytest.raises(ValueError) as error:
        decode_prompt_image(content, 8, 8, **settings)
    assert str(error.value) == f"The prompt image cannot be used: {problem}."
    assert decode_prompt_image(encoded(Image.new("L", (8, 8), 9)), 1, 1)[0, 0, 0] == 9


def test_crash_costs_one_image(worker):
    crash = threading.Timer(0.2, worker._process.send_signal, [signal.SIGSEGV])
    crash.start()
    assert_rejected(SLOW, "decoding it crashes")
    assert not worker.is_alive()


def test_unresponsive_process_is_killed(worker):
    worker._process.send_signal(signal.SIGSTOP)
    assert_rejected(SLOW, "decoding it takes more than 0.1 s of CPU time", seconds=0.1)
    assert not worker.is_alive()


def test_unexpected_error_is_reported(worker):
    with pytest.raises(ValueError, match=r"^decoding it fails \(TypeError\(.*'x'"):
        list(decoder_process.decode("image", {"x": 1}, 1.0))
    assert worker.is_alive()


def test_memory_is_limited(worker):
    limits = (2**28, 2**28)
    resource.prlimit(worker._process.pid, resource.RLIMIT_AS, limits)
    content = encoded(Image.new("RGBA", (8000, 5000)))
    assert_rejected(content, "decoding it takes more than 3 GiB of memory")


def test_lower_memory_limit_is_kept():
    program = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
from genie_tf.media.prompt_images import decode_prompt_image
try:
    decode_prompt_image(b"", 8, 8)
except ValueError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "it cannot be read as a PNG" in result.stdout, result.stderr


def test_ctrl_c_ends_worker(worker):
    interrupt = threading.Timer(
        0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]
    )
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        decode_prompt_image(SLOW, 8, 8)
    assert not worker.is_alive()


def test_workers_end_with_program_and_do_not_serve_forks():
    program = """
import io, os
from PIL import Image
from genie_tf.media import decoder_process
from genie_tf.media.prompt_images import decode_prompt_image
file = io.BytesIO()
Image.new("L", (8, 8), 7).save(file, "PNG")
decode_prompt_image(file.getvalue(), 8, 8)
print(decoder_process._idle[0]._process.pid, flush=True)
if not os.fork():
    assert not decoder_process._idle
    assert decode_prompt_image(file.getvalue(), 8, 8)[0, 0, 0] == 7
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert decode_prompt_image(file.getvalue(), 8, 8)[0, 0, 0] == 7
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not result.stderr
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{int(result.stdout)}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_workers_import_no_framework(worker):
    """Workers must start within a fraction of a second."""
    libraries = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert "numpy" in libraries
    assert not re.search("tensorflow|matplotlib|jax|h5py", libraries)


def test_damaged_files_are_used_or_rejected():
    """Run the benchmark with a few files."""
    program = Path(__file__).parents[2] / "benchmarks/fuzz_media.py"
    result = subprocess.run(
        [sys.executable, program, "--files=60"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
