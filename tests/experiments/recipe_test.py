"""Commands of the recipe, without running them."""

import json
from types import SimpleNamespace

import pytest

from genie_tf.experiments import cli, recipe


@pytest.fixture
def run_recipe(tmp_path, monkeypatch):
    """Function that runs the recipe, and returns its commands."""

    def run(fail="", **settings):
        commands = []

        def run_module(module, *arguments):
            words = dict(word.partition("=")[::2] for word in arguments)
            commands.append({"program": module.rpartition(".")[2], **words})
            if fail and fail in words.get("--workdir", ""):
                raise cli.UserError("it was killed")
            if "--output" in words:
                (tmp_path / "data").mkdir()
                return 1.0
            workdir = tmp_path / words["--workdir"]
            (workdir / "model").mkdir(parents=True)
            record = {"step": 30, "steps_per_second": 50.0}
            (workdir / "metrics.jsonl").write_text(json.dumps(record) + "\n")
            return 1.0

        monkeypatch.setattr(cli, "run_module", run_module)
        flags = {"size": "tiny", "minutes": None, "precision": "float32", **settings}
        monkeypatch.setattr(
            recipe, "FLAGS", SimpleNamespace(workdir=str(tmp_path), **flags)
        )
        if fail:
            with pytest.raises(cli.UserError):
                recipe.main()
        else:
            recipe.main()
        return commands

    return run


def test_recipe_trains_all_stages_in_order(run_recipe, tmp_path):
    data, *stages = run_recipe(size="full")
    assert data["program"] == "arrays"
    assert data["--dataset"] == "coinrun/mixed_hard"
    assert [(x["--config"], x["--workdir"]) for x in stages] == [
        ("coinrun_delta_tokenizer:full", f"{tmp_path}/tokenizer"),
        ("coinrun_lam:fast", f"{tmp_path}/actions"),
        ("coinrun_delta_genie:full", f"{tmp_path}/genie"),
    ]
    assert stages[2]["--config.tokenizer"] == f"{tmp_path}/tokenizer/model"
    assert stages[2]["--config.action_model"] == f"{tmp_path}/actions/model"
    assert not any("--config.steps" in stage for stage in stages)


def test_finished_stages_are_kept(run_recipe, tmp_path):
    run_recipe(fail="actions")
    assert [x["--workdir"] for x in run_recipe()] == [
        f"{tmp_path}/actions",
        f"{tmp_path}/genie",
    ]
    assert run_recipe() == []


def test_steps_fit_into_the_time(run_recipe, tmp_path):
    commands = run_recipe(minutes=10.0)
    steps = [
        int(x["--config.steps"])
        for x in commands
        if "--config.steps" in x and not x["--workdir"].endswith("probe")
    ]
    # 50 steps per second; nothing here takes time.
    assert steps[0] == pytest.approx(50 * 0.35 * 600, rel=0.01)
    assert steps[1] == pytest.approx(50 * 0.15 * 600, rel=0.01)
    assert steps[2] == pytest.approx(50 * 0.9 * 600, rel=0.01)
    assert not (tmp_path / "probe").exists()


def test_resumed_stage_takes_the_same_steps(run_recipe):
    *_, killed = run_recipe(minutes=10.0, fail="genie")
    (resumed,) = run_recipe(minutes=3.0)
    assert resumed == killed


@pytest.mark.parametrize("other", [{"size": "fast"}, {"precision": "mixed_bfloat16"}])
def test_folder_of_other_settings_is_rejected(run_recipe, tmp_path, other):
    run_recipe()
    with pytest.raises(
        cli.UserError,
        match=f"{tmp_path} was made with --size=tiny --precision=float32: pass these, "
        "or another --workdir",
    ):
        run_recipe(**other)


def test_configs_of_all_sizes_exist():
    from genie_tf.experiments.configs import (
        coinrun_delta_genie,
        coinrun_delta_tokenizer,
        coinrun_lam,
    )

    for sizes in recipe._SIZES.values():
        assert sizes["tokenizer"] in coinrun_delta_tokenizer.SIZES
        assert sizes["actions"] in coinrun_lam.SIZES
        assert sizes["genie"] in coinrun_delta_genie.SIZES
