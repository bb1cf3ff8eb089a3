"""Dropout of codes, which only training has."""

import numpy as np
import pytest
from keras import ops

from genie_tf.testing.tiny_models import (
    tiny_batch,
    tiny_delta_tokenizer,
    tiny_genie,
    tiny_latent_action_model,
    tiny_tokenizer,
)

DROPS = {"quantizer": {"centered": False, "dropout": 0.5}}


def training_batch(model) -> dict:
    clips = tiny_batch(0)
    rng = np.random.default_rng(0)
    added = [model.dropout_inputs(rng, {}) for _ in clips["video"]]
    return clips | {name: np.stack([x[name] for x in added]) for name in added[0]}


@pytest.mark.parametrize("make", [tiny_tokenizer, tiny_latent_action_model])
def test_codes_are_dropped_only_with_the_inputs_of_training(make):
    model = make(**DROPS)
    batch = training_batch(model)

    def indices(batch):
        return ops.convert_to_numpy(model.losses_and_metrics(batch)[1]["indices"])

    trained, validated = indices(batch), indices(tiny_batch(0))
    assert batch["dropout"].dtype == "uint32"
    np.testing.assert_array_equal(validated, model(batch["video"])["indices"])
    assert np.mean(trained != validated) > 0.2
    np.testing.assert_array_equal(trained, indices(batch))


def test_models_without_dropout_need_no_inputs():
    assert "dropout" not in training_batch(tiny_tokenizer())


def test_world_drops_codes_of_actions_unless_they_are_frozen():
    genie = tiny_genie()
    genie.latent_action_model = tiny_latent_action_model(**DROPS)
    batch = training_batch(genie)
    actions = genie.compute_outputs(batch)["actions"]
    expected = genie.latent_action_model(batch["video"], batch["dropout"])["indices"]
    np.testing.assert_array_equal(actions, expected)
    genie.latent_action_model.trainable = False
    assert "dropout" not in training_batch(genie)


def test_delta_tokenizer_refuses_dropout():
    with pytest.raises(ValueError) as error:
        tiny_delta_tokenizer(**DROPS)
    assert str(error.value) == (
        "A DeltaTokenizer cannot drop codes: the `dropout` of its quantizer must be 0; "
        "received 0.5."
    )
