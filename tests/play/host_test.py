"""Tests of what players share: the world's description, and seats."""

import time

import numpy as np
import pytest

from genie_tf.media import Prompt
from genie_tf.play import Host
from genie_tf.play.messages import AGAIN
from genie_tf.testing.toy_simulator import ToySimulator


def test_hello_describes_world(serve, open_page):
    names, keys = ["left", "right", "up", "down"], {"a": 0}
    hello = open_page(serve(action_names=names, keys=keys, fps=30)).hello
    assert (hello["name"], hello["num_actions"], hello["fps"]) == ("Toy", 4, 30)
    assert (hello["action_names"], hello["keys"]) == (names, keys)
    assert (hello["height"], hello["width"]) == (16, 16)
    assert [setting["name"] for setting in hello["settings"]] == [
        "num_steps",
        "temperature",
        "order",
    ]
    assert hello["settings"][0] == {
        "name": "num_steps",
        "label": "steps",
        "value": 4,
        "choices": [],
        "least": 1,
        "most": 25,
        "step": 1,
    }
    assert len(hello["prompts"]) == 6 and "gif" in hello["recordings"]


def test_seats_are_limited_and_freed(serve, open_page):
    port = serve(max_players=1)
    first, second = open_page(port), open_page(port)
    first.start()
    first.start()  # Another world, in the same seat.
    second.socket.send(bytes(ToySimulator.num_bytes))
    assert second.receive_error() == (
        "All 1 seats are taken: try again when a player leaves."
    )
    first.socket.close()
    time.sleep(0.2)
    assert second.start()[0] == AGAIN


def test_page_can_start_from_the_prompt_of_the_host(serve, open_page):
    frames = np.stack([np.full((16, 16, 3), gray, "uint8") for gray in (10, 20)])
    page = open_page(serve(prompt=Prompt(frames, [1])))
    assert page.hello["has_prompt"]
    page.send("start_prompt")
    kind, action, *_, pixels = page.receive_frame()
    assert (kind, action, pixels[0]) == (AGAIN, None, 20)


def test_page_cannot_start_from_a_prompt_that_is_not_there(serve, open_page):
    page = open_page(serve())
    assert not page.hello["has_prompt"]
    page.send("start_prompt")
    assert page.receive_error() == (
        "This world has no prompt of its own: send a frame."
    )


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (
            {"num_steps": 26},
            "To play, `num_steps` must be at most 25; received 26.",
        ),
        (
            {"temperature": 4.5},
            "To play, `temperature` must be at most 4; received 4.5.",
        ),
        (
            {"steps": 3},
            "This world has no setting 'steps': it has num_steps, temperature, top_k, "
            "choice_temperature, order.",
        ),
    ],
)
def test_sampling_outside_page_range_is_rejected(sampling, message):
    with pytest.raises(ValueError) as error:
        Host(ToySimulator(), "Toy", sampling=sampling)
    assert str(error.value) == message
