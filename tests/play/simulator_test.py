import keras
import numpy as np

from genie_tf.pixels import to_bytes
from genie_tf.play import Simulator
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import tiny_batch, tiny_genie


def test_frames_equal_those_of_world_sampler():
    genie, sampling, actions = tiny_genie(), {"num_steps": 2}, [3, 0, 0]
    prompt = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype="uint8")
    simulator = Simulator(genie)
    state, frame = simulator.start(prompt.tobytes())
    frames = [frame]
    for action in actions:
        state, frame = simulator.step(state, action, sampling)
        frames.append(frame)
    # A list of seeds is used as is; a single seed would be split.
    expected = WorldSampler(genie).generate(
        prompt[None, None], [actions], [0], sampling
    )
    actual = np.frombuffer(b"".join(frames), "uint8").reshape(4, 16, 16, 3) / 255
    np.testing.assert_allclose(actual, expected[0], atol=0.5 / 255 + 1e-6)


def test_prompt_of_several_frames_equals_that_of_world_sampler():
    genie, video = tiny_genie(), tiny_batch(0, batch=1, time=3)["video"]
    state, frame = Simulator(genie).start(video.tobytes(), [2, 4])
    expected, frames = WorldSampler(genie).reset(video, [[2, 4]])
    assert frame == to_bytes(np.array(frames[0, -1])).tobytes()
    pairs = zip(keras.tree.flatten(state), keras.tree.flatten(expected), strict=True)
    for actual, other in pairs:
        np.testing.assert_allclose(actual, other, atol=1e-6)


def test_warm_up_returns_state_size():
    # Two parts with keys and values: 8 frames of 4 patches of 16 channels, as floats.
    assert Simulator(tiny_genie()).warm_up() >= 2 * 2 * 8 * 4 * 16 * 4
