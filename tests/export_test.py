"""SavedModels equal the Python models, and run without genie_tf or Keras."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from genie_tf import export
from genie_tf.export import export_model, saved_model
from genie_tf.models import Genie, GuidedGenie, MaskGitDynamics
from genie_tf.samplers import WorldSampler
from genie_tf.sampling_settings import ORDERS
from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)

B, FRAMES = 3, 10  # More than the window of 8.
ACTIONS = np.random.default_rng(0).integers(5, size=(FRAMES, B), dtype="int32")
SEEDS = np.array([3, 1, 4], "int32")
SAMPLING = {
    "num_steps": 3,
    "temperature": 0.9,
    "top_k": 7,
    "choice_temperature": 2.0,
    "order": "random",
}

# Runs the SavedModels of a folder on inputs.npz and saves their outputs.
PLAYER = f"""
import sys
sys.modules["genie_tf"] = sys.modules["keras"] = None  # An error to import.
import numpy as np
import tensorflow as tf

video, actions, seeds = np.load("inputs.npz").values()
settings = {{**{SAMPLING}, "order": {ORDERS.index(SAMPLING["order"])}}}
for name in sys.argv[1:]:
    programs = tf.saved_model.load(name).signatures
    outputs = {{"signatures": sorted(programs)}}
    outputs |= programs["tokenize"](video=video)
    outputs |= programs["detokenize"](tokens=outputs["tokens"])
    if "infer_actions" in programs:
        outputs |= programs["infer_actions"](video=video)
    if "reset" in programs:
        prompt = video if "infer_actions" in programs else video[:, :1]
        state = programs["reset"](prompt=prompt)
        frames = []
        for action in actions:
            state = programs["step"](**state, action=action, seed=seeds, **settings)
            frames.append(state.pop("frame"))
        outputs["frames"] = np.stack(frames)
        outputs["last"] = state["state_dynamics_tokens"]
    if "sampling" in programs:
        outputs |= {{f"default_{{k}}": x for k, x in programs["sampling"]().items()}}
    np.savez(name + ".npz", **outputs)
assert not [name for name in sys.modules if name.startswith(("keras.", "genie_tf."))]
"""


def genie_of_tokens() -> Genie:
    """Return a Genie that infers latent actions from tokens."""
    genie = tiny_genie()
    actions = tiny_latent_action_model(frame_shape=(2, 2, 8), patch_size=1)
    return Genie(genie.tokenizer, actions, genie.dynamics)


def guided_genie() -> GuidedGenie:
    """Return a guided Genie with non-default settings."""
    tokenizer = tiny_tokenizer(
        code_dim=2,
        quantizer={"class_name": "FiniteScalarQuantizer", "levels": (6, 4)},
        encoder={**TRANSFORMER, "attention": "space_time"},
        decoder={**TRANSFORMER, "attention": "space"},
    )
    transformer = {**TRANSFORMER, "attention": "space_time"}
    dynamics = MaskGitDynamics(
        24, 4, 5, transformer, conditioning="token", sampling={"num_steps": 25}
    )
    kernel = dynamics.to_change.kernel
    kernel.assign(3 * np.random.default_rng(0).normal(size=kernel.shape))
    return GuidedGenie(tokenizer, dynamics)


MODELS = {
    "genie": genie_of_tokens(),
    "guided": guided_genie(),
    "tokenizer": tiny_tokenizer(),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Outputs of each SavedModel, a dict of arrays by name."""
    folder = tmp_path_factory.mktemp("exported")
    video = tiny_batch(0, batch=B)["video"]
    np.savez(folder / "inputs.npz", video=video, actions=ACTIONS, seeds=SEEDS)
    for name, model in MODELS.items():
        export_model(model, folder / name)
    assert not list(folder.glob(".*"))
    subprocess.run([sys.executable, "-c", PLAYER, *MODELS], cwd=folder, check=True)
    return {name: dict(np.load(folder / f"{name}.npz")) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_tokens_and_reconstructions_equal_model(played, name):
    model, video = MODELS[name], tiny_batch(0, batch=B)["video"]
    tokenizer = getattr(model, "tokenizer", model)
    tokens = tokenizer.tokenize(video)
    np.testing.assert_array_equal(played[name]["tokens"], tokens)
    np.testing.assert_allclose(
        played[name]["video"], tokenizer.detokenize(tokens), atol=1e-6
    )


@pytest.mark.parametrize("name", ["genie", "guided"])
def test_frames_equal_model_with_equal_seeds(played, name):
    sampler, video = WorldSampler(MODELS[name]), tiny_batch(0, batch=B)["video"]
    state, _ = sampler.reset(video if name == "genie" else video[:, :1])
    for action, exported in zip(ACTIONS, played[name]["frames"], strict=True):
        state, frame = sampler.step(state, action, SEEDS, SAMPLING)
        np.testing.assert_allclose(exported, frame, atol=1e-6)
    np.testing.assert_array_equal(played[name]["last"], state["dynamics"]["tokens"])


def test_actions_equal_model(played):
    video = tiny_batch(0, batch=B)["video"]
    expected = MODELS["genie"].infer_actions(video)
    np.testing.assert_array_equal(played["genie"]["actions"], expected)


def test_signatures_match_model(played):
    tokenizer = ["detokenize", "tokenize"]
    world = ["reset", "sampling", "step"]
    for name, signatures in (
        ("tokenizer", tokenizer),
        ("guided", tokenizer + world),
        ("genie", tokenizer + world + ["infer_actions"]),
    ):
        assert list(played[name]["signatures"]) == sorted(signatures)


def test_default_sampling_settings_are_those_of_the_model(played):
    for name in ("genie", "guided"):
        for setting, value in MODELS[name].dynamics.sampling_tensors().items():
            assert played[name][f"default_{setting}"] == value, setting
    assert played["guided"]["default_num_steps"] == 25


def test_unusable_exports_are_rejected(tmp_path, monkeypatch):
    def error_message(model, folder) -> str:
        with pytest.raises(ValueError) as error:
            export_model(model, folder)
        return str(error.value)

    tokenizer, folder = MODELS["tokenizer"], tmp_path / "saved_model"
    assert error_message(tokenizer, tmp_path) == (
        f"{tmp_path} exists already: choose another folder."
    )
    assert error_message(MODELS["genie"].dynamics, folder) == (
        "A Genie or a tokenizer can be exported; received a MaskGitDynamics."
    )
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    assert error_message(tokenizer, folder) == (
        "Only TensorFlow writes SavedModels; received KERAS_BACKEND=jax: unset it."
    )
    assert not list(tmp_path.iterdir())


def test_preset_is_exported_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_tokenizer().save_to_preset(tmp_path / "one", "A card.")
    tiny_tokenizer(num_codes=25).save_to_preset(tmp_path / "other", "A card.")
    path = saved_model(tmp_path / "one")
    assert sorted(tf.saved_model.load(path).signatures) == ["detokenize", "tokenize"]
    exported = []
    monkeypatch.setattr(export, "export_model", lambda *args: exported.append(args))
    assert saved_model(tmp_path / "one") == path
    assert not exported
    assert saved_model(tmp_path / "other") != path
    assert len(exported) == 1


def test_cache_that_is_open_to_others_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "genie_tf" / "saved_models"
    folder.mkdir(mode=0o777, parents=True)
    folder.chmod(0o777)
    tiny_tokenizer().save_to_preset(tmp_path / "one", "A card.")
    with pytest.raises(OSError, match=f"{folder} is open to others."):
        saved_model(tmp_path / "one")
