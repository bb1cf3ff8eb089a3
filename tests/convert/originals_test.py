"""Converted models compute what the authors' code computed with the same weights."""

import numpy as np
import pytest
from keras import ops

import genie_tf
from genie_tf.convert import convert_genieredux, convert_jafar, convert_jasmine
from genie_tf.convert.comparison import compare_world
from genie_tf.models import LatentActionModel, VideoTokenizer
from genie_tf.samplers import WorldSampler

FRAME_SHAPE = (8, 12, 3)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def jafar(jafar_arrays):
    return convert_jafar(jafar_arrays, frame_shape=FRAME_SHAPE)


@pytest.fixture(scope="module")
def genieredux(redux_arrays):
    """Function from "main" or "guided" to the world."""
    size = {"frame_shape": FRAME_SHAPE}
    tokenizer = convert_genieredux(redux_arrays("tokenizer"), **size)
    worlds = {
        name: convert_genieredux(redux_arrays(name), tokenizer=tokenizer, **size)
        for name in ("main", "guided")
    }
    return worlds.__getitem__


def check(differences: dict, columns: tuple[str, ...]) -> None:
    assert tuple(differences) == columns
    for name in {"tokens", "actions"} & differences.keys():
        assert differences.pop(name) == 0
    assert max(differences.values()) < TOLERANCE, differences


ALL = ("tokens", "reconstruction", "actions", "prediction", "logits", "rollout")


def test_jafar_is_the_same_function(jafar, recorded):
    check(compare_world(jafar, recorded("jafar/genie.npz"), reencodes=True), ALL)


def test_jasmine_is_the_same_function(jasmine_arrays, recorded):
    world = convert_jasmine(jasmine_arrays("genie"), frame_shape=FRAME_SHAPE)
    check(compare_world(world, recorded("jasmine/genie.npz")), ALL)


def test_jasmine_of_true_actions_is_the_same_function(jasmine_arrays, recorded):
    world = convert_jasmine(jasmine_arrays("guided"), frame_shape=FRAME_SHAPE)
    differences = compare_world(world, recorded("jasmine/guided.npz"))
    check(differences, ("tokens", "reconstruction", "logits", "rollout"))


def test_jasmine_world_without_decoder_of_actions_needs_its_action_model(
    jasmine_arrays, recorded
):
    arrays, part = jasmine_arrays("genie"), "model/lam/"
    world = {x: y for x, y in arrays.items() if f"{part}decoder/" not in x}
    with pytest.raises(
        ValueError, match="lacks the decoder of its latent action model"
    ):
        convert_jasmine(world, frame_shape=FRAME_SHAPE)
    actions = {
        name.replace(part, "model/"): array
        for name, array in arrays.items()
        if part in name
    }
    model = convert_jasmine(actions, frame_shape=FRAME_SHAPE)
    assert isinstance(model, LatentActionModel)
    both = convert_jasmine(world, frame_shape=FRAME_SHAPE, action_model=model)
    recorded = recorded("jasmine/genie.npz")
    outputs = both.latent_action_model(recorded["video"])
    np.testing.assert_array_equal(outputs["indices"], recorded["actions"])
    np.testing.assert_allclose(
        outputs["prediction"], recorded["prediction"], atol=TOLERANCE
    )


def test_other_dynamics_of_jasmine_are_refused():
    arrays = {"model/dynamics/patch_embed/embedding": np.zeros((4, 8))}
    with pytest.raises(ValueError, match="This is no checkpoint of .* Jasmine"):
        convert_jasmine(arrays)


def test_genieredux_is_the_same_function(genieredux, recorded):
    check(compare_world(genieredux("main"), recorded("genieredux/main.npz")), ALL)


def test_guided_genieredux_is_the_same_function(genieredux, recorded):
    differences = compare_world(genieredux("guided"), recorded("genieredux/guided.npz"))
    check(differences, ("tokens", "reconstruction", "logits", "rollout"))


def test_comparison_finds_a_changed_weight(jafar_arrays, recorded):
    name = "params/dynamics/dynamics/STBlock_1/Dense_0/bias"
    changed = {**jafar_arrays, name: jafar_arrays[name] + 0.1}
    world = convert_jafar(changed, frame_shape=FRAME_SHAPE)
    differences = compare_world(world, recorded("jafar/genie.npz"), reencodes=True)
    assert differences["logits"] > 10 * TOLERANCE


@pytest.mark.parametrize(
    "part, kind", [("tokenizer", VideoTokenizer), ("lam", LatentActionModel)]
)
def test_parts_of_jafar_are_converted_alone(part, kind, jafar_arrays, jafar, recorded):
    prefix = f"params/{part}/"
    arrays = {
        "params/" + name.removeprefix(prefix): array
        for name, array in jafar_arrays.items()
        if name.startswith(prefix)
    }
    model = convert_jafar(arrays, frame_shape=FRAME_SHAPE)
    assert isinstance(model, kind)
    video = recorded("jafar/genie.npz")["video"]
    whole = jafar.tokenizer if part == "tokenizer" else jafar.latent_action_model
    np.testing.assert_array_equal(model(video)["indices"], whole(video)["indices"])


def test_presets_of_converted_worlds_compute_the_same(jafar, genieredux, tmp_path):
    rng = np.random.default_rng(0)
    video = rng.random((1, 4, *FRAME_SHAPE), dtype="float32")
    for name, world in (
        ("jafar", jafar),
        ("main", genieredux("main")),
        ("guided", genieredux("guided")),
    ):
        world.save_to_preset(tmp_path / name, "Converted.")
        loaded = genie_tf.load(tmp_path / name)
        batch = {
            "video": video,
            "mask": rng.random((1, 4, world.dynamics.num_patches)) < 0.5,
            "action": np.zeros((1, 3), "int32"),
        }
        expected, outputs = (
            x.compute_outputs(batch)["logits"] for x in (world, loaded)
        )
        np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("name", ["jafar", "main", "guided"])
def test_steps_of_the_dynamics_equal_its_call(name, jafar, genieredux):
    world = jafar if name == "jafar" else genieredux(name)
    dynamics, frames = world.dynamics, 5
    rng = np.random.default_rng(0)
    tokens = rng.integers(dynamics.num_codes, size=(2, frames, dynamics.num_patches))
    actions = ops.convert_to_tensor(
        rng.integers(world.num_actions, size=(2, frames - 1))
    )
    vectors = world.action_vectors(actions)
    # The last frame is unknown; a mask of the frames before would be another input.
    mask = np.zeros(tokens.shape, bool)
    mask[:, -1] = True
    logits = dynamics(tokens, vectors, {"mask": mask})
    cache = dynamics.start(ops.convert_to_tensor(tokens[:, 0], "int32"))
    for t in range(1, frames - 1):
        known = ops.convert_to_tensor(tokens[:, t], "int32")
        position = ops.full((2,), t, "int32")
        cache = dynamics.add_frame(known, vectors[:, t - 1], cache, position)
    settings = {"temperature": 0.0, **({"num_steps": 1} if name == "jafar" else {})}
    sampled, _ = dynamics.sample_frame(
        vectors[:, -1],
        cache,
        ops.full((2,), frames - 1, "int32"),
        ops.zeros((2,), "uint32"),
        dynamics.sampling_tensors(settings),
        world.tokenizer.grid,
    )
    np.testing.assert_array_equal(sampled, ops.argmax(logits[:, -1], axis=-1))


def test_genieredux_plays_past_its_last_position(genieredux, recorded):
    world = genieredux("main")
    prompt = recorded("genieredux/main.npz")["video"][:1, :1]
    sampler = WorldSampler(world)
    state, _ = sampler.start(ops.convert_to_tensor(prompt))
    settings = world.dynamics.sampling_tensors()
    for _ in range(world.dynamics.max_frames + 2):
        action, seed = ops.zeros((1,), "int32"), ops.zeros((1,), "int32")
        state, frame = sampler.next_frame(state, action, seed, settings)
    assert np.isfinite(ops.convert_to_numpy(frame)).all()
