"""End-to-end test of a tokenizer and a dynamics known only by their contracts."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.envs import GenieEnv
from genie_tf.evaluation import evaluate
from genie_tf.experiments.cli.settings import check_settings
from genie_tf.experiments.configs import coinrun_tokenizer
from genie_tf.experiments.configs.common import choose_size
from genie_tf.export import export_model
from genie_tf.models import CausalDynamics, Genie, Tokenizer, WorldModel
from genie_tf.play.simulator import Simulator
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import (
    FRAME_SHAPE,
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)
from genie_tf.training.build import build_model
from genie_tf.training.engine import TensorFlowEngine
from genie_tf.training.optimizers import WarmupDecay, make_optimizer
from genie_tf.training.plan import step_costs


@keras.saving.register_keras_serializable("genie_tf_tests")
class GrayTokenizer(Tokenizer):
    """Tokenizer that maps each patch to a gray, with a learned brightness."""

    def __init__(self, frame_shape, patch_size, num_codes, **kwargs):
        super().__init__(**kwargs)
        self.frame_shape, self.patch_size = tuple(frame_shape), patch_size
        self.grid = tuple(side // patch_size for side in frame_shape[:2])
        self.num_codes, self.code_dim = num_codes, 1
        self.brightness = self.add_weight(shape=(), name="brightness")
        self.built = True

    def call(self, video):
        tokens = self.tokenize(video)
        return {"reconstruction": self.detokenize(tokens), "indices": tokens}

    def tokenize(self, video):
        scale = 255 if "int" in keras.backend.standardize_dtype(video.dtype) else 1
        rows, columns = self.grid
        b, t = ops.shape(video)[:2]
        shape = (b, t, rows, self.patch_size, columns, self.patch_size * 3)
        gray = ops.mean(ops.reshape(ops.cast(video, "float32"), shape), axis=(3, 5))
        tokens = ops.round(gray / scale * (self.num_codes - 1))
        return ops.reshape(ops.cast(tokens, "int32"), (b, t, self.num_patches))

    def detokenize(self, tokens):
        gray = (self.lookup(tokens)[..., 0] + 1) / 2 + self.brightness
        frames = ops.reshape(gray, (-1, ops.shape(tokens)[1], *self.grid, 1))
        for axis in (2, 3):
            frames = ops.repeat(frames, self.patch_size, axis=axis)
        return ops.clip(ops.repeat(frames, 3, axis=-1), 0, 1)

    def lookup(self, tokens):
        return 2 * ops.cast(tokens, "float32")[..., None] / (self.num_codes - 1) - 1

    def losses_and_metrics(self, batch):
        video = ops.cast(batch["video"], "float32") / 255
        return {"loss": ops.mean((video - self.reconstruct(batch)) ** 2)}, {}

    def arguments(self):
        names = "frame_shape", "patch_size", "num_codes"
        return {name: getattr(self, name) for name in names}


@pytest.fixture(autouse=True)
def without_compilation(request):
    """Eager execution, except for export: compiling takes most of the time."""
    tf.config.run_functions_eagerly(
        request.node.originalname != "test_world_is_exported"
    )
    yield
    tf.config.run_functions_eagerly(False)


def batch_for(model, step, **size):
    """Return a batch with training inputs of the model."""
    batch = tiny_batch(step, **size)
    del batch["mask"]
    clips = [{"video": video} for video in batch["video"]]
    inputs = [
        model.training_inputs(np.random.default_rng((step, i)), clip)
        for i, clip in enumerate(clips)
    ]
    return batch | {name: np.stack([x[name] for x in inputs]) for name in inputs[0]}


def train(make_model, steps=20):
    """Return a trained model and its losses."""
    engine = TensorFlowEngine(
        make_model, lambda model: make_optimizer(model, WarmupDecay(5e-3, steps, 2))
    )
    batches = [batch_for(engine.model, step % 2) for step in range(steps)]
    return engine.model, np.asarray(engine.train_steps(batches)["loss"])


def gray_tokenizer():
    keras.utils.set_random_seed(0)
    tokenizer = GrayTokenizer(FRAME_SHAPE, 8, 16)
    tokenizer.brightness.assign(0.3)
    return tokenizer


def causal_genie(tokenizer):
    return Genie(
        tokenizer,
        tiny_latent_action_model(),
        CausalDynamics.for_world(
            tokenizer, 8, {"transformer": {**TRANSFORMER, "attention": "space_time"}}
        ),
    )


def gray_maskgit_genie():
    tokenizer, genie = gray_tokenizer(), tiny_genie()
    dynamics = type(genie.dynamics).for_world(
        tokenizer, 8, {"transformer": TRANSFORMER, "code_dim": 8}
    )
    return Genie(tokenizer, genie.latent_action_model, dynamics)


WORLDS = {
    "causal dynamics": lambda: causal_genie(tiny_tokenizer()),
    "gray tokenizer": gray_maskgit_genie,
}


def test_config_can_name_other_tokenizer_class():
    settings = {
        **coinrun_tokenizer.SIZES["tiny"],
        "model": {"class_name": "GrayTokenizer", **gray_tokenizer().arguments()},
    }
    config = choose_size("gray", gray=settings)
    check_settings(config)
    model = build_model(config)
    assert model.settings() == gray_tokenizer().settings()


def test_other_tokenizer_is_trained_and_evaluated():
    tokenizer, losses = train(gray_tokenizer)
    assert losses[-1] < losses[0]
    scores, videos = evaluate(tokenizer, iter([tiny_batch(9, time=5)]), 4)
    codes = np.asarray(tokenizer.tokenize(tiny_batch(9, time=5)["video"]))
    counts = np.bincount(codes.ravel(), minlength=16)
    assert scores["tokenizer"]["counts"] == counts.tolist()
    assert videos["reconstruction"].shape == (4, 5, *FRAME_SHAPE)


@pytest.fixture(scope="module", params=WORLDS)
def world(request, tmp_path_factory):
    """Trained world, loaded from its preset."""
    tf.config.run_functions_eagerly(True)
    world, losses = train(WORLDS[request.param])
    assert losses[-2:].mean() < losses[:2].mean()
    folder = tmp_path_factory.mktemp("preset") / "model"
    world.save_to_preset(folder, "A world of other parts.")
    loaded = WorldModel.from_preset(folder)
    for ours, theirs in zip(loaded.weights, world.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return loaded


def test_world_is_evaluated(world):
    batch = batch_for(world, 9, time=5)
    scores, videos = evaluate(world, iter([batch]), 4)
    assert 0 < scores["dynamics"]["cross_entropy"]["mean"] < 5
    prompts = world.tokenizer.reconstruct({"video": batch["video"][:, :1]})
    np.testing.assert_allclose(videos["prediction"][:, :1], prompts, atol=1e-5)


def test_world_is_played_as_it_is_sampled(world):
    prompt = tiny_batch(3)["video"][:1, :1]
    sampler, simulator = WorldSampler(world), Simulator(world)
    expected = ops.convert_to_numpy(sampler.generate(prompt, [[1, 4, 0]], [0]))
    state, first = simulator.start(prompt.tobytes())
    frames = [first]
    for action in (1, 4, 0):
        state, frame = simulator.step(state, action, {})
        frames.append(frame)
    assert frames == [np.round(255 * x).astype("uint8").tobytes() for x in expected[0]]
    env = GenieEnv(world, [prompt[0, 0]])
    env.reset(seed=1)
    frame, *_ = env.step(np.int64(1))
    assert frame.shape == FRAME_SHAPE


def test_world_is_exported(world, tmp_path):
    export_model(world, tmp_path / "exported")
    programs = tf.saved_model.load(str(tmp_path / "exported")).signatures
    prompt = tiny_batch(3)["video"][:1, :2]
    state = programs["reset"](prompt=tf.constant(prompt))
    settings = world.dynamics.sampling_tensors()
    state = programs["step"](
        **state, action=tf.constant([2]), seed=tf.constant([5]), **settings
    )
    expected = WorldSampler(world).generate(prompt, [[2]], [5])
    np.testing.assert_allclose(state["frame"], expected[:, -1], atol=1e-5)


def test_world_is_planned(world):
    costs = step_costs(world, frames=4)
    assert costs["dynamics"].flops > costs["tokenizer"].flops
