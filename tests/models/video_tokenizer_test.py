import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.models import VideoTokenizer
from genie_tf.testing.layer_test import run_layer_test

B, T = 2, 4
ROWS, COLUMNS = 2, 3  # Patch grid.
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # Quick to build.


ARGUMENTS = {
    "frame_shape": (8, 12, 3),
    "patch_size": 4,
    "num_codes": 16,
    "code_dim": 8,
    "encoder": TRANSFORMER,
    "decoder": {**TRANSFORMER, "dim": 24},
}


def make_tokenizer(**changes):
    return VideoTokenizer(**{**ARGUMENTS, **changes})


def random_video(time=T, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (B, time, 8, 12, 3), dtype="uint8")


@pytest.fixture(scope="module")
def tokenizer():
    keras.utils.set_random_seed(0)
    return make_tokenizer()


def frames_changed(before, after):
    """Return which frames (b, t) of two outputs differ."""
    change = np.abs(ops.convert_to_numpy(after) - ops.convert_to_numpy(before))
    return change.reshape(*change.shape[:2], -1).max(axis=-1) > 1e-5


def test_model():
    run_layer_test(
        VideoTokenizer,
        {**ARGUMENTS, "encoder": NO_BLOCKS, "decoder": NO_BLOCKS},
        random_video(),
        mixed_output_dtype="float32",
        mixed_tolerance=1.5,  # Rounding can change the code.
    )


def test_outputs(tokenizer):
    outputs = tokenizer(random_video())
    assert outputs["reconstruction"].shape == (B, T, 8, 12, 3)
    assert keras.backend.standardize_dtype(outputs["reconstruction"].dtype) == "float32"
    assert outputs["indices"].shape == (B, T, ROWS * COLUMNS)
    assert keras.backend.standardize_dtype(outputs["indices"].dtype) == "int32"
    reconstruction = ops.convert_to_numpy(outputs["reconstruction"])
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1
    tokens = ops.convert_to_numpy(outputs["indices"])
    assert 0 <= tokens.min() <= tokens.max() < 16


@pytest.mark.parametrize("frame", [0, 2, 3])
def test_encoder_is_causal(tokenizer, frame):
    video = random_video()
    other = video.copy()
    other[0, frame] = 255 - other[0, frame]
    changed = frames_changed(
        tokenizer.encode(video)["latents"], tokenizer.encode(other)["latents"]
    )
    np.testing.assert_array_equal(changed, [np.arange(T) >= frame, [False] * T])
    # Tokens do not depend on the length of the video.
    np.testing.assert_array_equal(
        tokenizer.tokenize(video)[:, : frame + 1],
        tokenizer.tokenize(video[:, : frame + 1]),
    )


@pytest.mark.parametrize("frame", [0, 2, 3])
def test_decoder_is_causal(tokenizer, frame):
    tokens = np.random.default_rng(0).integers(0, 16, (B, T, ROWS * COLUMNS))
    other = tokens.copy()
    other[0, frame] = 15 - other[0, frame]
    changed = frames_changed(tokenizer.detokenize(tokens), tokenizer.detokenize(other))
    np.testing.assert_array_equal(changed, [np.arange(T) >= frame, [False] * T])


def test_tokens_are_row_major_over_the_grid():
    # Without blocks, patches are independent.
    tokenizer = make_tokenizer(encoder=NO_BLOCKS, decoder=NO_BLOCKS)
    video = random_video(time=1)
    other = video.copy()
    other[:, :, 4:8, 0:4] = 255 - other[:, :, 4:8, 0:4]  # Second row, first column.
    latents = [tokenizer.encode(x)["latents"] for x in (video, other)]
    encoded = np.abs(latents[0] - latents[1]).max(axis=(0, 1, 3)) > 1e-5
    np.testing.assert_array_equal(encoded, np.arange(ROWS * COLUMNS) == COLUMNS)

    tokens = np.zeros((1, 1, ROWS * COLUMNS), "int32")
    other = tokens.copy()
    other[..., COLUMNS] = 1
    frames = [tokenizer.detokenize(x)[0, 0] for x in (tokens, other)]
    decoded = np.abs(frames[0] - frames[1]).max(axis=-1) > 1e-5
    expected = np.zeros((8, 12), bool)
    expected[4:8, 0:4] = True
    np.testing.assert_array_equal(decoded, expected)


def test_detokenized_tokens_equal_reconstruction(tokenizer):
    video = random_video()
    outputs = tokenizer(video)
    tokens = tokenizer.tokenize(video)
    np.testing.assert_array_equal(tokens, outputs["indices"])
    np.testing.assert_allclose(
        tokenizer.detokenize(tokens), outputs["reconstruction"], atol=1e-5
    )
    np.testing.assert_allclose(
        tokenizer.reconstruct({"video": video}), outputs["reconstruction"], atol=1e-6
    )


def test_uint8_and_float_videos_have_equal_latents(tokenizer):
    video = random_video()
    np.testing.assert_allclose(
        tokenizer.encode(video)["latents"],
        tokenizer.encode(video.astype("float32") / 255)["latents"],
        atol=1e-5,
    )


def test_losses_and_metrics(tokenizer):
    video = random_video()
    metrics, codebook_stats = tokenizer.losses_and_metrics({"video": video})
    outputs = tokenizer(video)
    error = (video / 255 - ops.convert_to_numpy(outputs["reconstruction"])) ** 2
    np.testing.assert_allclose(metrics["reconstruction_loss"], error.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], error.mean() + outputs["loss"], rtol=1e-5
    )
    psnr = -10 * np.log10(error.mean(axis=(2, 3, 4))).mean()
    np.testing.assert_allclose(metrics["psnr"], psnr, rtol=1e-4)
    metrics = tokenizer.codebook_metrics(codebook_stats)
    codes_used = len(np.unique(outputs["indices"]))
    np.testing.assert_allclose(metrics["codes_used"], codes_used)
    assert 1 <= metrics["perplexity"] <= codes_used + 1e-3
    np.testing.assert_array_equal(codebook_stats["indices"], outputs["indices"])


def test_tokenizer_can_overfit_one_batch():
    keras.utils.set_random_seed(0)
    tokenizer = make_tokenizer(decoder=NO_BLOCKS)
    # Patches of one color each: black, white, red, and so on.
    colors = np.random.default_rng(0).integers(0, 2, (B, T, ROWS, COLUMNS, 3))
    video = (255 * colors).astype("uint8").repeat(4, axis=2).repeat(4, axis=3)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(tokenizer.trainable_variables)

    @tf.function
    def train_step():
        with tf.GradientTape() as tape:
            metrics, codebook_stats = tokenizer.losses_and_metrics({"video": video})
        variables = tokenizer.trainable_variables
        optimizer.apply(tape.gradient(metrics["loss"], variables))
        tokenizer.update_codebooks(codebook_stats)
        return metrics

    losses = [float(train_step()["loss"]) for _ in range(80)]
    assert min(losses[-10:]) < losses[0] / 3


def test_frames_that_patches_do_not_divide():
    tokenizer = make_tokenizer(
        frame_shape=(7, 10, 3), encoder=NO_BLOCKS, decoder=NO_BLOCKS
    )
    video = random_video()[:, :, :7, :10]
    outputs = tokenizer(video)
    assert outputs["indices"].shape == (B, T, ROWS * COLUMNS)
    assert outputs["reconstruction"].shape == video.shape
