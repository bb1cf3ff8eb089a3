import numpy as np
import pytest

from genie_tf.layers.canvas import (
    blank_canvas,
    move_canvas,
    paint,
    predict_view,
    view,
)

MARGIN = 4


@pytest.fixture
def frames():
    pixels = np.random.default_rng(0).integers(256, size=(2, 6, 8, 3))
    return (pixels / 255).astype("float32")


def start(frames):
    return paint(blank_canvas(len(frames), frames.shape[1:], MARGIN), frames)


def test_view_is_the_painted_frame(frames):
    canvas = np.array(start(frames))
    assert canvas.dtype == np.uint8 and canvas.shape == (2, 14, 16, 4)
    pixels, known = view(canvas, MARGIN)
    np.testing.assert_allclose(pixels, frames, atol=1e-7)
    assert np.all(np.array(known) == 1)
    assert np.sum(canvas[..., 3] == 255) == 2 * 6 * 8


def test_painting_keeps_the_surroundings(frames):
    moved = np.array(move_canvas(start(frames), np.array([2, 0]), np.array([-1, 3])))
    canvas = np.array(paint(moved, frames[::-1].copy()))
    np.testing.assert_allclose(view(canvas, MARGIN)[0], frames[::-1], atol=1e-7)
    canvas[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = 0
    moved[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = 0
    np.testing.assert_array_equal(canvas, moved)


def test_pixels_that_left_the_view_come_back(frames):
    gone = move_canvas(start(frames), np.array([4, -4]), np.array([3, 0]))
    canvas = paint(gone, np.zeros_like(frames))
    pixels, known = predict_view(canvas, np.array([-4, 4]), np.array([-3, 0]), MARGIN)
    # Two of six rows stayed in view and were painted over.
    np.testing.assert_allclose(pixels[0, 2:], frames[0, 2:], atol=1e-7)
    np.testing.assert_allclose(pixels[1, :4], frames[1, :4], atol=1e-7)
    assert np.all(np.array(known) == 1)


def test_pixels_beyond_the_margin_are_forgotten(frames):
    gone = move_canvas(start(frames), np.array([MARGIN + 2] * 2), np.zeros(2, int))
    back = np.array(move_canvas(gone, np.array([-MARGIN - 2] * 2), np.zeros(2, int)))
    _, known = view(back, MARGIN)
    known = np.array(known)
    assert np.all(known[:, :4] == 1) and np.all(known[:, 4:] == 0)


def test_unknown_pixels_repeat_the_edge(frames):
    pixels, known = predict_view(start(frames), np.array([2, 0]), np.array([0, -1]), 4)
    np.testing.assert_allclose(pixels[0, :2], frames[0, :1].repeat(2, 0), atol=1e-7)
    np.testing.assert_allclose(pixels[1, :, :-1], frames[1, :, 1:], atol=1e-7)
    np.testing.assert_allclose(pixels[1, :, -1], frames[1, :, -1], atol=1e-7)
    expected = np.ones((2, 6, 8, 1))
    expected[0, :2] = expected[1, :, -1] = 0
    np.testing.assert_array_equal(known, expected)
