"""Every config, in every size, builds a model and an optimizer."""

import copy
import importlib
import json
from pathlib import Path

import pytest
from ml_collections.config_flags import config_flags

from genie_tf.experiments import configs
from genie_tf.experiments.configs import steerability
from genie_tf.presets.folder import read_config
from genie_tf.testing.tiny_models import (
    TinyAutoencoder,
    tiny_delta_tokenizer,
    tiny_tokenizer,
)
from genie_tf.training.build import build_model
from genie_tf.training.optimizers import WarmupDecay, make_optimizer

STEERABILITY = Path(configs.__file__).parent / "steerability.py"
FILES = sorted(Path(configs.__file__).parent.glob("coinrun_*.py"))
STAGES = {
    "coinrun_agent": "agent",
    "coinrun_tokenizer": "tokenizer",
    "coinrun_lam": "latent_action_model",
    "coinrun_genie": "genie",
    "coinrun_causal": "genie",
    "coinrun_delta_tokenizer": "tokenizer",
    "coinrun_delta_genie": "genie",
}
SIZES = [
    (path, size)
    for path in FILES
    for size in importlib.import_module(f"{configs.__name__}.{path.stem}").SIZES
]


def small(settings: dict) -> dict:
    """Return the same arguments, with transformers that are quick to build."""
    settings = copy.deepcopy(settings)
    for value in [settings, *settings.values()]:
        if isinstance(value, dict) and "num_blocks" in value:
            value.update(dim=16 * value["num_heads"], num_blocks=1, mlp_dim=None)
    return settings


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    tiny_tokenizer(frame_shape=(64, 64, 3)).save_to_preset(
        folder / "tokenizer", "A card."
    )
    tiny_delta_tokenizer(frame_shape=(64, 64, 3)).save_to_preset(
        folder / "delta", "A card."
    )
    return folder


@pytest.mark.parametrize(
    ("path", "size"), SIZES, ids=lambda value: getattr(value, "stem", value)
)
def test_config_can_be_trained(path, size, tokenizers):
    config = parse(path, size)
    assert config.stage == STAGES[path.stem]
    check(config, tokenizers)


def test_shipped_preset_matches_its_config():
    config = parse(
        Path(configs.__file__).parent / "coinrun_delta_genie.py", "full"
    ).to_dict()
    settings = read_config("genie_coinrun")["settings"]
    for trained in ("tokenizer", "action_model"):
        config[trained] = settings[trained]
    assert known_to(settings, json.loads(json.dumps(config))) == settings


def known_to(past: dict, settings: dict) -> dict:
    """Return the settings that existed when a preset was trained."""
    return {
        name: known_to(past[name], value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name in past
    }


def test_phases_scale_with_steps():
    config = parse(Path(configs.__file__).parent / "coinrun_lam.py", "tiny")
    assert (config.steps, config.schedule.decay_steps) == (700, 340)
    assert config.model.quantizer.quantize_after == 650
    config.steps = 70
    assert config.schedule.decay_steps == 34
    assert config.model.quantizer.quantize_after == 65
    config.schedule.decay_steps = 10
    config.steps = 700
    assert config.schedule.decay_steps == 10


@pytest.mark.parametrize("row", steerability.ROWS)
def test_ablation_rows_can_be_trained_and_differ_from_base(row, tokenizers):
    config = parse(STEERABILITY, row)
    is_same = config.to_dict() == parse(STEERABILITY, "base").to_dict()
    assert is_same == (row in ("base", "separate"))
    check(config, tokenizers)


def test_unknown_row_is_rejected():
    with pytest.raises(ValueError, match="one of base, seed_1, .*; received 'none'"):
        steerability.get_config("none")


def parse(path, size):
    return config_flags.ConfigFileFlagParser("config").parse(f"{path}:{size}")


def check(config, tokenizers):
    for name in ("log_every", "evaluate_every", "checkpoint_every"):
        assert 1 <= config[name] <= config.steps
    # Shrink wide and deep models, which take long to build; argument names stay.
    with config.unlocked():
        for name in ("model", "latent_action_model", "dynamics"):
            if name in config:
                config[name] = small(config[name].to_dict())
        if "tokenizer" in config:
            assert config.tokenizer == ""
            changes = config.dynamics.class_name == "DeltaDynamics"
            config.tokenizer = str(tokenizers / ("delta" if changes else "tokenizer"))
    build_model(config)
    schedule = WarmupDecay(steps=config.steps, **config.schedule)
    make_optimizer(TinyAutoencoder(), schedule, **config.optimizer)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_docstring_shows_command(path):
    program = "genie-train-agent" if path.stem == "coinrun_agent" else "genie-train"
    assert f"{program} --config={path.stem}:" in path.read_text()
