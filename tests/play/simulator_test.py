import numpy as np

from genie_tf.play import Simulator
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import tiny_genie


def test_frames_are_those_of_a_world_sampler():
    genie, sampling, actions = tiny_genie(), {"num_steps": 2}, [3, 0, 0]
    picture = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype="uint8")
    simulator = Simulator(genie)
    state, frame = simulator.start(picture.tobytes())
    frames = [frame]
    for action in actions:
        state, frame = simulator.step(state, action, sampling)
        frames.append(frame)
    # One seed for each video, or they would be spread.
    expected = WorldSampler(genie).generate(
        picture[None, None], [actions], [0], sampling
    )
    found = np.frombuffer(b"".join(frames), "uint8").reshape(4, 16, 16, 3) / 255
    np.testing.assert_allclose(found, expected[0], atol=0.5 / 255 + 1e-6)


def test_warming_up_tells_the_size_of_a_state():
    # Keys and values of 8 frames of 4 patches of 16 channels, as floats, of two parts.
    assert Simulator(tiny_genie()).warm_up() >= 2 * 2 * 8 * 4 * 16 * 4
