import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.layers import patchify
from genie_tf.models import LatentActionModel
from genie_tf.testing.layer_test import run_layer_test

B, T = 2, 5
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # Quick to build.


ARGUMENTS = {
    "frame_shape": (8, 12, 3),
    "patch_size": 4,
    "num_actions": 4,
    "action_dim": 8,
    "encoder": TRANSFORMER,
    "decoder": {**TRANSFORMER, "dim": 24},
    "quantizer": {"quantize_after": 0},
}


PUBLISHED = {
    "sees_change": False,
    "predicts": "frame",
    "quantizer": {"metric": "euclidean", "centered": False, "idle_limit": None},
}


def make_model(**changes):
    return LatentActionModel(**{**ARGUMENTS, **changes})


def random_video(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (B, T, 8, 12, 3), dtype="uint8")


@pytest.fixture(scope="module", params=[{}, PUBLISHED], ids=["ours", "published"])
def model(request):
    """Model whose decoder head is not zero."""
    keras.utils.set_random_seed(0)
    model = make_model(**request.param)
    kernel = model.head.kernel
    kernel.assign(0.3 * np.random.default_rng(0).normal(size=kernel.shape))
    return model


def frames_changed(before, after):
    """Return which frames (b, t) of two outputs differ."""
    change = np.abs(ops.convert_to_numpy(after) - ops.convert_to_numpy(before))
    return change.reshape(*change.shape[:2], -1).max(axis=-1) > 1e-5


@pytest.mark.parametrize("switches", [{}, PUBLISHED], ids=["ours", "published"])
def test_model(switches):
    run_layer_test(
        LatentActionModel,
        {**ARGUMENTS, "decoder": NO_BLOCKS, **switches},
        random_video(),
        mixed_output_dtype="float32",
        mixed_tolerance=1.5,  # Rounding can change the action.
    )


def test_outputs(model):
    outputs = model(random_video())
    assert outputs["prediction"].shape == (B, T - 1, 8, 12, 3)
    assert outputs["indices"].shape == (B, T - 1)
    assert outputs["quantized"].shape == (B, T - 1, 8)
    assert keras.backend.standardize_dtype(outputs["indices"].dtype) == "int32"
    indices = ops.convert_to_numpy(outputs["indices"])
    assert 0 <= indices.min() <= indices.max() < 4
    np.testing.assert_array_equal(model.infer_actions(random_video()), indices)


@pytest.mark.parametrize("frame", range(T))
def test_action_does_not_depend_on_frames_after_the_one_it_leads_to(model, frame):
    video = random_video()
    other = video.copy()
    other[0, frame] = 255 - other[0, frame]
    changed = frames_changed(model(video)["latents"], model(other)["latents"])
    # Action t leads from frame t to frame t + 1.
    expected = np.arange(T - 1) + 1 >= frame
    np.testing.assert_array_equal(changed, [expected, [False] * (T - 1)])


@pytest.mark.parametrize("frame", range(T - 1))
def test_prediction_depends_only_on_earlier_frames(model, frame):
    patches = patchify(random_video() / np.float32(255), 4)
    actions = np.random.default_rng(0).normal(size=(B, T - 1, 8)).astype("float32")
    before = model.predict_next(patches[:, :-1], actions)
    other = ops.convert_to_numpy(patches).copy()
    other[0, frame] = 1 - other[0, frame]
    changed = frames_changed(before, model.predict_next(other[:, :-1], actions))
    # Prediction t predicts frame t + 1.
    expected = np.arange(T - 1) + 1 > frame
    np.testing.assert_array_equal(changed, [expected, [False] * (T - 1)])


@pytest.mark.parametrize("action", [0, 2])
def test_action_affects_frame_it_leads_to_and_later_ones(model, action):
    patches = patchify(random_video() / np.float32(255), 4)[:, :-1]
    actions = np.random.default_rng(0).normal(size=(B, T - 1, 8)).astype("float32")
    other = actions.copy()
    other[0, action] *= -1
    changed = frames_changed(
        model.predict_next(patches, actions), model.predict_next(patches, other)
    )
    expected = np.arange(T - 1) >= action
    np.testing.assert_array_equal(changed, [expected, [False] * (T - 1)])


def test_prediction_depends_on_next_frame_only_through_action_code(model):
    video = random_video()
    outputs = model(video)
    patches = patchify(video / np.float32(255), 4)[:, :-1]
    actions = model.quantizer.lookup(outputs["indices"])
    np.testing.assert_allclose(
        model.predict_next(patches, actions), outputs["prediction"], atol=1e-5
    )


def test_uint8_and_float_videos_have_equal_outputs(model):
    video = random_video()
    from_bytes, from_floats = model(video), model(video.astype("float32") / 255)
    for name in ("latents", "prediction"):
        np.testing.assert_allclose(from_bytes[name], from_floats[name], atol=1e-5)


def test_reconstruction_keeps_first_frame_and_predicts_others(model):
    video = random_video()
    reconstruction = model.reconstruct({"video": video})
    np.testing.assert_allclose(reconstruction[:, 0], video[:, 0] / 255, atol=1e-6)
    np.testing.assert_allclose(
        reconstruction[:, 1:], model(video)["prediction"], atol=1e-6
    )


def test_losses_and_metrics(model):
    video = random_video()
    metrics, codebook_stats = model.losses_and_metrics({"video": video})
    outputs = model(video)
    error = (video[:, 1:] / 255 - ops.convert_to_numpy(outputs["prediction"])) ** 2
    np.testing.assert_allclose(metrics["prediction_loss"], error.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], error.mean() + outputs["loss"], rtol=1e-5
    )
    metrics = model.codebook_metrics(codebook_stats)
    codes_used = len(np.unique(outputs["indices"]))
    np.testing.assert_allclose(metrics["codes_used"], codes_used)
    assert 1 <= metrics["perplexity"] <= codes_used + 1e-3
    np.testing.assert_array_equal(codebook_stats["indices"], outputs["indices"])


def test_frames_that_patches_do_not_divide():
    model = make_model(patch_size=5, encoder=NO_BLOCKS, decoder=NO_BLOCKS)
    assert model.num_patches == 2 * 3
    # An untrained model predicts no change.
    np.testing.assert_allclose(
        model(random_video())["prediction"], random_video()[:, :-1] / 255, atol=1e-6
    )


def test_untrained_model_predicts_no_change_in_mixed_precision():
    model = make_model(dtype="mixed_bfloat16")
    video = random_video()
    metrics, _ = model.losses_and_metrics({"video": video})
    for tensor in (model(video)["prediction"], *metrics.values()):
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"
    assert model.encoder.compute_dtype == "bfloat16"
    # Exact except for rounding in float32.
    np.testing.assert_allclose(
        model(video)["prediction"], video[:, :-1] / 255, atol=1e-6
    )


def test_prediction_lies_between_0_and_1_as_published(model):
    prediction = ops.convert_to_numpy(model(random_video())["prediction"])
    is_inside = 0 < prediction.min() and prediction.max() < 1
    assert is_inside == (model.predicts == "frame")


@pytest.mark.parametrize("sees_change", [True, False])
def test_encoder_sees_changes_only_if_asked(sees_change):
    # Without blocks, an action token sees no patch, so look at the patches' embedding.
    model = make_model(encoder=NO_BLOCKS, decoder=NO_BLOCKS, sees_change=sees_change)
    pixels = 4 * 4 * 3
    assert model.encoder_embedding.kernel.shape[0] == pixels * (1 + sees_change)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"predicts": "token"},
            "`predicts` must be one of change, frame, linear_frame; received 'token'.",
        ),
        ({"sees_change": 0}, "`sees_change` must be true or false; received 0."),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError) as error:
        make_model(**arguments)
    assert str(error.value) == message
