"""Tests that apply to all written files, and to the package."""

import json
import os
import resource
import subprocess
import sys

import pytest

from genie_tf import media
from genie_tf.testing.game_video import game_video

RECORDS = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}]


@pytest.mark.parametrize("size", [0, 100, 1000])
@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.png", "grid.png", "curves.png"])
def test_full_disk_keeps_old_file(tmp_path, name, size):
    (tmp_path / name).write_text("old")
    kind, before = resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(kind, (size, before[1]))
    try:
        with pytest.raises(OSError, match="File too large: '.*/" + name):
            if name == "grid.png":
                media.save_image_grid(tmp_path / name, [game_video()])
            elif name == "curves.png":
                media.plot_curves(tmp_path / name, RECORDS)
            else:
                media.save_video(tmp_path / name, game_video())
    finally:
        resource.setrlimit(kind, before)
    assert (tmp_path / name).read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == [name]


def test_importing_loads_no_framework():
    listing = "import json, sys, genie_tf.media; print(json.dumps(list(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, check=True, text=True
    ).stdout
    heavy = {"tensorflow", "keras", "matplotlib", "av"}
    assert not heavy & set(json.loads(output))
