"""Models are found and built by class name."""

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
from genie_tf.testing.presets import error_message
from genie_tf.testing.tiny_models import tiny_tokenizer


def test_classes_are_found_by_name():
    assert model_class("VideoTokenizer") is VideoTokenizer
    assert model_class("Genie", WorldModel) is Genie
    assert error_message(model_class, "VideoTokenizer", Dynamics).endswith(
        "; received VideoTokenizer."
    )


@pytest.mark.parametrize(
    "name", ["Nothing", None, 3, [], {}, "Tokenizer", "WorldModel"]
)
def test_unknown_names_are_rejected(name):
    assert error_message(model_class, name).startswith(
        f"There is no model {name!r}; genie_tf has "
    )


def test_class_is_registered_when_defined():
    class Novelty(VideoTokenizer):
        pass

    assert model_class("Novelty", Tokenizer) is Novelty
    first = Novelty

    class Novelty(VideoTokenizer):
        pass

    assert model_class("Novelty") is Novelty is not first


def test_describe_lists_models_of_a_kind():
    class OwnGenie(Genie):
        pass

    assert describe(WorldModel) == "Genie or GuidedGenie"
    assert describe(Genie) == "Genie"
    assert describe(OwnGenie) == "OwnGenie"
    assert describe(ActionModel) == "LatentActionModel"
    assert "MaskGitDynamics" in describe(Dynamics).split(" or ")


def test_models_are_built_from_settings():
    tokenizer = tiny_tokenizer()
    settings = tokenizer.settings()
    assert settings["class_name"] == "VideoTokenizer"
    model = make_model(settings, Tokenizer)
    assert type(model) is VideoTokenizer and model.settings() == settings
    assert error_message(make_model, settings, ActionModel) == (
        "Expected a LatentActionModel; received VideoTokenizer."
    )
    assert error_message(make_model, {}, Tokenizer).startswith(
        "There is no model None; "
    )
    assert error_message(make_model, {**settings, "depth": 3, "b": 1}, Tokenizer) == (
        "VideoTokenizer has no arguments 'b', 'depth'."
    )


def test_arguments_must_have_names():
    check_arguments(LatentActionModel, {"num_actions": 3, "class_name": "whatever"})
    assert error_message(check_arguments, LatentActionModel, [3]) == (
        "The arguments of LatentActionModel must have names; received [3]."
    )
