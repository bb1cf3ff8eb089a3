"""Models are found and made by the names of their classes."""

import pytest

from genie_tf.models import (
    ActionModel,
    Dynamics,
    Genie,
    LatentActionModel,
    Tokenizer,
    VideoTokenizer,
    WorldModel,
)
from genie_tf.presets.registry import (
    check_arguments,
    describe,
    make_model,
    model_class,
)
from genie_tf.testing.presets import error_of
from genie_tf.testing.tiny_models import tiny_tokenizer


def test_classes_have_names():
    assert model_class("VideoTokenizer") is VideoTokenizer
    assert model_class("Genie", WorldModel) is Genie
    assert error_of(model_class, "VideoTokenizer", Dynamics).endswith(
        "; received VideoTokenizer."
    )


@pytest.mark.parametrize(
    "name", ["Nothing", None, 3, [], {}, "Tokenizer", "WorldModel"]
)
def test_names_of_no_model(name):
    assert error_of(model_class, name).startswith(
        f"There is no model {name!r}; genie_tf has "
    )


def test_a_class_is_known_once_it_is_defined():
    class Novelty(VideoTokenizer):
        pass

    assert model_class("Novelty", Tokenizer) is Novelty
    first = Novelty

    class Novelty(VideoTokenizer):
        pass

    assert model_class("Novelty") is Novelty is not first


def test_kinds_are_described_by_the_models_of_that_kind():
    class OwnGenie(Genie):
        pass

    assert describe(WorldModel) == "Genie or GuidedGenie"
    assert describe(Genie) == "Genie"
    assert describe(OwnGenie) == "OwnGenie"
    assert describe(ActionModel) == "LatentActionModel"
    assert "MaskGitDynamics" in describe(Dynamics).split(" or ")


def test_models_are_made_from_their_settings():
    tokenizer = tiny_tokenizer()
    settings = tokenizer.settings()
    assert settings["class_name"] == "VideoTokenizer"
    made = make_model(settings, Tokenizer)
    assert type(made) is VideoTokenizer and made.settings() == settings
    assert error_of(make_model, settings, ActionModel) == (
        "Expected a LatentActionModel; received VideoTokenizer."
    )
    assert error_of(make_model, {}, Tokenizer).startswith("There is no model None; ")
    assert error_of(make_model, {**settings, "depth": 3, "b": 1}, Tokenizer) == (
        "VideoTokenizer has no arguments 'b', 'depth'."
    )


def test_arguments_have_names():
    check_arguments(LatentActionModel, {"num_actions": 3, "class_name": "whatever"})
    assert error_of(check_arguments, LatentActionModel, [3]) == (
        "The arguments of LatentActionModel must have names; received [3]."
    )
