import numpy as np
import pytest

from genie_tf import media
from genie_tf.testing.game_video import game_video


def test_clips_are_enlarged_and_in_place():
    a, b, c, d = (np.full((5, 4, 6, 3), 40 * i, "uint8") for i in range(4))
    a[2, 1, 3] = (9, 8, 7)
    video = media.grid([[a, b], [c, d]], scale=3)
    assert video.shape == (5, 2 * 12 + 2, 2 * 18 + 2, 3)
    for clip, top, left in ((a, 0, 0), (b, 0, 20), (c, 14, 0), (d, 14, 20)):
        cell = video[:, top : top + 12, left : left + 18]
        for y in range(3):
            for x in range(3):
                np.testing.assert_array_equal(cell[:, y::3, x::3], clip)
    assert (video[:, 12:14] == 255).all()


def test_labels_are_left_of_rows():
    rows = [game_video(), game_video(), game_video()]
    video = media.grid(rows, labels=["true", "", "predicted"], scale=2)
    margin = video.shape[2] - 2 * 64
    assert margin > 40
    for index, clip in enumerate(rows):
        top = index * (2 * 48 + 2)
        cell = video[:, top : top + 96, margin:]
        np.testing.assert_array_equal(cell[:, ::2, ::2], clip)
        written = (video[:, top : top + 96, :margin] < 128).any(axis=(1, 2, 3))
        assert written.all() if index != 1 else not written.any()


def test_column_names_are_above():
    rows = [[game_video(), 255 - game_video()]] * 2
    video = media.grid(rows, ["a", "b"], 2, columns=["", "right"])
    margin = video.shape[2] - 2 * (2 * 64 + 2) + 2
    above = video.shape[1] - 2 * (2 * 48 + 2) + 2
    np.testing.assert_array_equal(video[:, above:], media.grid(rows, ["a", "b"], 2))
    heading = (video[:, :above] < 128).any(axis=(0, 1, 3))
    assert heading[margin + 130 :].any() and not heading[: margin + 130].any()


def test_bytes_and_floats_can_be_mixed():
    floats = game_video().astype("float32") / 255
    video = media.grid([[game_video(), floats]], scale=1)
    np.testing.assert_array_equal(video[:, :, :64], video[:, :, 66:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rows": [[game_video(), game_video()], [game_video()]]},
            r"rows of \[2, 1\] videos, of shapes \(6, 48, 64, 3\)",
        ),
        (
            {"rows": [game_video(6), game_video(5)]},
            r"rows of \[1, 1\] videos, of shapes \(6, .* 3\), \(5, .* 3\)",
        ),
        ({"rows": []}, r"rows of \[\] videos"),
        (
            {"rows": [game_video()], "labels": ["a", "b"]},
            "received 2 labels for 1 rows",
        ),
        (
            {"rows": [game_video()], "columns": ["a", "b"]},
            "received 2 for 1 columns",
        ),
        ({"rows": [game_video()], "scale": 0}, "positive integer; received 0"),
        ({"rows": [game_video()], "scale": 1.5}, "positive integer; received 1.5"),
    ],
)
def test_invalid_grids_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        media.grid(**arguments)
