import re

import numpy as np
import pytest
from keras import ops

from genie_tf.layers.motion import still
from genie_tf.models.delta_tokenizer import DeltaTokenizer
from genie_tf.models.delta_tokens import DRAWN, MOVED, STAYED, DeltaTokens, unpack
from genie_tf.testing.tiny_models import SPACE, tiny_delta_tokenizer

REACH = (2, 2)


@pytest.fixture
def video():
    pixels = np.random.default_rng(0).integers(256, size=(2, 4, 16, 16, 3))
    return (pixels / 255).astype("float32")


def code(tokenizer, previous, frame):
    """Return the tokens of a frame after another, and the frame as decoded."""
    video = np.stack([previous, frame], axis=1)
    tokens, decoded = tokenizer.tokenize_and_decode(video)
    return unpack(np.array(tokens)[:, 1], 16, 2), np.array(decoded)[:, 1]


def number_shift(dy, dx):
    return still(REACH) + 5 * dy + dx


def test_moving_picture_is_copied_pixel_for_pixel(video):
    previous = video[:, 0]
    frame = np.roll(previous, (1, -2), axis=(1, 2))
    tokens, decoded = code(tiny_delta_tokenizer(), previous, frame)
    assert np.all(tokens.shift == number_shift(1, -2))
    assert np.all(tokens.mode == MOVED)
    # Only pixels that come in at the top and at the right are drawn.
    np.testing.assert_allclose(decoded[:, 1:, :14], frame[:, 1:, :14], atol=1e-6)
    assert np.any(decoded[:, 0] != np.roll(previous, -2, axis=2)[:, 0])
    drawn = np.zeros((4, 4), bool)
    drawn[0] = drawn[:, -1] = True
    coded = np.array(tokens.codes)[0, :, 0] > 0
    np.testing.assert_array_equal(coded.reshape(4, 4), drawn)


def test_patch_that_stays_in_a_moving_picture_is_copied(video):
    previous = video[:, 0]
    frame = np.roll(previous, 2, axis=2)
    frame[:, 4:8, 8:12] = previous[:, 4:8, 8:12]
    tokens, decoded = code(tiny_delta_tokenizer(), previous, frame)
    assert np.all(tokens.mode.reshape(2, 4, 4)[:, 1, 2] == STAYED)
    np.testing.assert_allclose(decoded[:, 4:8, 8:12], previous[:, 4:8, 8:12], atol=1e-6)


def test_picture_that_comes_back_is_not_drawn(video):
    there = np.roll(video[:, 0], (2, 1), axis=(1, 2))
    video = np.stack([video[:, 0], there, video[:, 0]], axis=1)
    tokens, decoded = tiny_delta_tokenizer().tokenize_and_decode(video)
    back = unpack(np.array(tokens)[:, 2], 16, 2)
    assert np.all(back.shift == number_shift(-2, -1))
    assert np.all(back.codes == 0)
    np.testing.assert_allclose(decoded[:, 2], video[:, 2], atol=1e-6)


def test_codes_change_drawn_patches_only(video):
    tokenizer = tiny_delta_tokenizer()
    mode = np.zeros((2, 16), "int32")
    mode[:, 5] = DRAWN
    _, canvas = tokenizer.detokenize_first(None, video[:, 0])
    one, two = (
        np.array(
            tokenizer.detokenize_step(
                DeltaTokens(np.full(2, number_shift(0, 0)), mode, codes).pack(),
                canvas,
                None,
            )[0]
        )
        for codes in (np.full((2, 16, 2), x, "int32") for x in (1, 4))
    )
    drawn = np.zeros((16, 16), bool)
    drawn[4:8, 4:8] = True
    assert np.all((one != two).any((0, 3)) == drawn)
    np.testing.assert_allclose(one[:, ~drawn], video[:, 0][:, ~drawn], atol=1e-6)


def test_patches_are_copied_if_drawing_does_not_help(video):
    tokenizer = tiny_delta_tokenizer()
    tokenizer.to_change.kernel.assign(ops.zeros_like(tokenizer.to_change.kernel))
    tokens, _ = code(tokenizer, video[:, 0], video[:, 1])
    assert not np.any(tokens.mode == DRAWN)


def test_detokenize_returns_the_decoded_video(video):
    tokenizer = tiny_delta_tokenizer()
    tokenizer.to_change.bias.assign(ops.full_like(tokenizer.to_change.bias, 0.2))
    # The video brightens, as the drawing does.
    video = video / 10 + 0.2 * np.arange(4, dtype="float32")[:, None, None, None]
    tokens, decoded = tokenizer.tokenize_and_decode(video)
    assert np.any(np.array(unpack(tokens, 16, 2).mode) == DRAWN)
    again = tokenizer.detokenize(tokens, video[:, 0])
    np.testing.assert_array_equal(again, decoded)
    frame, cache = tokenizer.detokenize_first(tokens[:, 0], video[:, 0])
    np.testing.assert_array_equal(frame, decoded[:, 0])
    for i in range(1, 4):
        frame, cache = tokenizer.detokenize_step(tokens[:, i], cache, None)
        np.testing.assert_array_equal(frame, decoded[:, i])


def test_errors_are_mended_by_later_tokens(video):
    """Tokens say what to draw; with errors, they are of the frame after a wrong one."""
    tokenizer = tiny_delta_tokenizer()
    # A drawing is the copy, 0.2 brighter, as each frame is.
    tokenizer.to_change.kernel.assign(ops.zeros_like(tokenizer.to_change.kernel))
    tokenizer.to_change.bias.assign(ops.full_like(tokenizer.to_change.bias, 0.2))
    video = video / 10 + 0.2 * np.arange(4, dtype="float32")[:, None, None, None]
    clean = np.array(tokenizer.tokenize(video))
    errors = np.zeros((2, 3, 16), bool)
    errors[:, 1, 4] = True
    tokens, decoded = map(np.array, tokenizer.tokenize_and_decode(video, errors))
    np.testing.assert_array_equal(tokens[:, :3], clean[:, :3])
    change = unpack(tokens[:, 2], 16, 2)
    assert np.all(change.mode[:, 4] == DRAWN)
    previous = decoded[:, 1, 4:8, :4]
    np.testing.assert_array_equal(decoded[:, 2, 4:8, :4], previous)
    assert np.all(unpack(tokens[:, 3], 16, 2).mode[:, 4] == DRAWN)


def test_loss_is_the_error_of_decoded_frames(video):
    tokenizer = tiny_delta_tokenizer(tolerance=0.0)
    metrics, stats = tokenizer.losses_and_metrics({"video": video[:, :2]})
    shift = np.array(tokenizer.tokenize(video[:, :2]))[:, 1, 0]
    copies = tokenizer.copies(tokenizer.detokenize_first(None, video[:, 0])[1], shift)
    mode = tokenizer.choose_modes(copies, video[:, 1])
    codes = tokenizer.encode(copies, video[:, 1])["quantized"]
    made = np.array(tokenizer.decode(copies, mode, codes))
    error = made - np.array(tokenizer.patches_of(video[:, 1]))
    expected = np.mean(error**2 + 0.03 * np.abs(error))
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    assert stats["indices"].shape == (2, 16, 2)
    assert np.array(stats["indices"]).min() >= 0


def test_codes_that_are_not_drawn_are_not_counted(video):
    tokenizer = tiny_delta_tokenizer()
    still_video = video[:, :1].repeat(3, axis=1)
    metrics, stats = tokenizer.losses_and_metrics({"video": still_video})
    assert float(metrics["drawn"]) == 0
    assert np.all(np.array(stats["indices"]) == -1)
    assert float(tokenizer.codebook_metrics(stats)["codes_used"]) == 0
    assert np.all(np.array(tokenizer.codes_in(tokenizer.tokenize(still_video))) == -1)


def test_codebook_is_updated_by_drawn_patches_only(video):
    tokenizer = tiny_delta_tokenizer(quantizer={"commitment_weight": 1.0})
    _, stats = tokenizer.losses_and_metrics({"video": video[:, :1].repeat(3, axis=1)})
    counts = tokenizer.codebook_metrics(stats)
    assert float(counts["codes_used"]) == 0
    tokenizer.update_codebooks(stats)
    _, stats = tokenizer.losses_and_metrics({"video": video})
    assert float(tokenizer.codebook_metrics(stats)["codes_used"]) > 0
    tokenizer.update_codebooks(stats)
    assert np.all(np.isfinite(tokenizer.codes()))


def test_attention_over_time_is_rejected():
    with pytest.raises(
        ValueError,
        match='The decoder of a DeltaTokenizer must have `attention` "space"; received '
        "'st'",
    ):
        tiny_delta_tokenizer(decoder={**SPACE, "attention": "st"})


@pytest.mark.parametrize("reach", [3, (1, 2, 3), (2, 16)])
def test_reach_must_fit_the_frame(reach):
    message = (
        "`reach` must be the largest shift down and to the side, in pixels, smaller than "
        f"a frame of 16x16; received {reach!r}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny_delta_tokenizer(reach=reach)


def test_tolerance_must_not_be_negative():
    with pytest.raises(ValueError, match="`tolerance` must be a number, 0 or more"):
        tiny_delta_tokenizer(tolerance=-1.0)


def test_cache_bytes_match_the_cache():
    tokenizer = tiny_delta_tokenizer()
    size = np.array(tokenizer.empty_cache(1)).nbytes
    assert tokenizer.cache_bytes(tokenizer.arguments()) == size


def test_arguments_rebuild_the_model():
    tokenizer = tiny_delta_tokenizer()
    again = DeltaTokenizer(**tokenizer.arguments())
    assert again.arguments() == tokenizer.arguments()
    assert [x.shape for x in again.weights] == [x.shape for x in tokenizer.weights]
