"""Configs that cannot be trained are rejected in one sentence."""

import importlib
import math
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from genie_tf.experiments import configs
from genie_tf.experiments.cli.settings import check_settings
from genie_tf.experiments.configs import coinrun_genie, coinrun_lam, coinrun_tokenizer
from genie_tf.testing.tiny_models import tiny_tokenizer
from genie_tf.training.build import build_model, build_world


def config(kind=coinrun_tokenizer, **changes):
    config = kind.get_config("tiny")
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    "name", [x.stem for x in Path(configs.__file__).parent.glob("[a-z]*_*.py")]
)
def test_shipped_configs_are_valid(name):
    module = importlib.import_module(f"{configs.__name__}.{name}")
    for size in module.SIZES:
        check_settings(module.get_config(size))


NAN, INF = math.nan, math.inf
WRONG = [
    *(
        (name, value, f"a whole number of {least} or more")
        for names, values, least in (
            (
                "steps batch_size clip_length stride accumulate steps_per_call log_every "
                "evaluate_every checkpoint_every keep_last validation_clips",
                (0, -1),
                1,
            ),
            ("seed keep_every schedule.warmup_steps schedule.decay_steps", (-1,), 0),
        )
        for name in names.split()
        for value in values
    ),
    *(("schedule.peak", x, "a finite number above 0") for x in (0.0, -1e-3, NAN, INF)),
    *(("schedule.final", x, "a finite number of 0 or more") for x in (-1.0, NAN, INF)),
    *(
        ("schedule.warmup_from", x, "a finite number from 0 to 1")
        for x in (-0.1, 1.1, NAN)
    ),
    *(
        (f"optimizer.{name}", x, "a finite number from 0 to below 1")
        for name in ("beta_1", "beta_2", "ema")
        for x in (-0.1, 1.0, NAN)
    ),
    *(
        ("optimizer.weight_decay", x, "a finite number of 0 or more")
        for x in (-1.0, NAN, INF)
    ),
    *(
        ("clip_norm", x, "a finite number above 0, or None")
        for x in (0.0, -1.0, NAN, INF)
    ),
    ("precision", "float16", "float32 or mixed_bfloat16"),
    ("best_is", "best", "lowest or highest"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_invalid_numbers_are_rejected(name, value, expected):
    with pytest.raises(ValueError) as error:
        check_settings(config(**{name: value}))
    assert str(error.value) == f"config.{name} must be {expected}; is {value!r}."


@pytest.mark.parametrize(
    "rates", [(-0.1, 1.0), (0.5, 1.1), (0.9, 0.5), (0.0, 0.0), (0.5,), (NAN, 1.0)]
)
def test_invalid_mask_rates_are_rejected(rates):
    changes = {"num_true_actions": 15, "dynamics.mask_rates": rates}
    with pytest.raises(ValueError) as error:
        build_world(config(coinrun_genie, **changes), tiny_tokenizer())
    assert str(error.value) == (
        "`mask_rates` must be the smallest and the largest share of masked tokens, the "
        f"latter above 0; received {rates}."
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", "100", "a whole number of 1 or more; is '100'"),
        ("steps", True, "a whole number of 1 or more; is True"),
        ("dataset", 5, "a string; is 5"),
        ("remat", 1, "True or False; is 1"),
        ("schedule", 1e-3, "a group of settings; is 0.001"),
        ("schedule.peak", "1e-3", "a finite number above 0; is '1e-3'"),
        ("model", None, "a group of settings; is None"),
    ],
)
def test_values_of_wrong_type_are_rejected(name, value, expected):
    changed = config()
    with changed.ignore_type():
        changed.update_from_flattened_dict({name: value})
    with pytest.raises(ValueError) as error:
        check_settings(changed)
    assert str(error.value) == f"config.{name} must be {expected}."


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        (
            coinrun_tokenizer,
            {"schedule.decay_steps": 551},
            "config.schedule.decay_steps must not be more than config.steps=550; is 551.",
        ),
        (
            coinrun_tokenizer,
            {"log_every": 3, "steps_per_call": 2},
            "config.log_every must be a multiple of config.steps_per_call=2; is 3.",
        ),
        (
            coinrun_lam,
            {"model.quantizer.quantize_after": 700},
            "config.model.quantizer.quantize_after must be less than config.steps=700, or "
            "quantization never starts; is 700.",
        ),
        (
            coinrun_genie,
            {"num_true_actions": 15, "action_model": "model"},
            "Set config.num_true_actions or config.action_model, not both.",
        ),
    ],
)
def test_contradicting_settings_are_rejected(kind, changes, sentence):
    with pytest.raises(ValueError) as error:
        check_settings(config(kind, **changes))
    assert str(error.value) == sentence


def test_unused_settings_are_not_checked():
    changes = {"latent_action_model.quantizer.quantize_after": 700}
    check_settings(config(coinrun_genie, num_true_actions=15, **changes))


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (coinrun_tokenizer, ["clip_length"]),
        (coinrun_tokenizer, ["seed", "model"]),
        (coinrun_tokenizer, ["schedule.peak", "optimizer"]),
        (coinrun_tokenizer, ["model.decoder"]),
        (
            coinrun_genie,
            ["tokenizer", "num_true_actions", "latent_action_model.encoder"],
        ),
        (coinrun_tokenizer, ["stage"]),
    ],
)
def test_missing_settings_are_reported(kind, missing):
    incomplete = config(kind)
    for name in missing:
        *groups, last = name.split(".")
        del (incomplete[groups[0]] if groups else incomplete)[last]
    with pytest.raises(ValueError) as error:
        check_settings(incomplete)
    assert str(error.value) == (
        f"The config lacks {', '.join(missing)}; `choose_size` in "
        "genie_tf/experiments/configs/common.py fills in defaults."
    )


@pytest.mark.parametrize("name", ["model.code_dim", "model.encoder.num_blocks"])
def test_missing_model_arguments_are_reported(name):
    incomplete = config()
    *groups, last = name.split(".")
    group = incomplete
    for part in groups:
        group = group[part]
    del group[last]
    check_settings(incomplete)
    with pytest.raises(ValueError, match=f"arguments of its model: .*'{last}'"):
        build_model(incomplete)


def test_incomplete_custom_config_is_rejected():
    with pytest.raises(ValueError, match="The config lacks dataset, .*clip_length, "):
        check_settings(ConfigDict({"stage": "tokenizer", "steps": 100}))
