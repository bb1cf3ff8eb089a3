import os

import numpy as np
import pytest
from PIL import Image

from genie_tf import media

RECORDS = [
    {"step": 10, "loss": 3.0, "note": "first"},
    {"step": 20, "loss": 2.0, "validation/psnr": np.float32(20)},
    {"step": 30, "loss": 1.5, "validation/psnr": np.float32(22)},
]


def test_one_plot_per_metric(tmp_path):
    media.plot_curves(tmp_path / "one.png", RECORDS, ["loss"])
    media.plot_curves(tmp_path / "two.png", RECORDS)
    one, two = (Image.open(tmp_path / name) for name in ("one.png", "two.png"))
    assert two.width == 2 * one.width and two.height == one.height
    assert sorted(os.listdir(tmp_path)) == ["one.png", "two.png"]


def test_unknown_metric_is_rejected(tmp_path):
    with pytest.raises(
        ValueError, match="No record has fid; .* have loss, validation/psnr."
    ):
        media.plot_curves(tmp_path / "a.png", RECORDS, ["loss", "fid"])
    with pytest.raises(ValueError, match="No record has any metric"):
        media.plot_curves(tmp_path / "a.png", [])
    assert sorted(os.listdir(tmp_path)) == []
