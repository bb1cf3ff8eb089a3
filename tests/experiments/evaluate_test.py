"""End-to-end runs of genie-evaluate."""

import json
import os
import re
from importlib import metadata

import numpy as np
import pytest
from PIL import Image


def test_report_has_all_scores(evaluated):
    report = json.loads((evaluated / "report.json").read_text())
    assert set(report) == {
        *("model", "preset", "dataset", "split", "camera", "stride", "resize"),
        "black_region",
        *("actions", "action_names", "sampling", "seed", "clips", "frames"),
        *("tokenizer", "latent_actions", "dynamics", "frechet"),
        *("action_probe", "long_play"),
        *("hardware", "versions", "seconds"),
    }
    assert (report["model"], report["preset"]) == ("Genie", "genie/model")
    assert (report["dataset"], report["split"]) == ("coinrun/tiny", "test")
    assert (report["clips"], report["frames"], report["seed"]) == (2, 16, 0)
    assert report["sampling"] == {
        "num_steps": 2,
        "temperature": 1.0,
        "top_k": 0,
        "choice_temperature": 4.5,
        "order": "confidence",
    }
    assert report["actions"] == "groups"
    assert report["action_names"][7] == "right"
    assert set(report["hardware"]) == {"processor", "cores"}
    assert report["versions"]["keras"] == metadata.version("keras")
    dynamics = report["dynamics"]
    assert len(dynamics["horizons"]["prediction"]) == 10
    low, high = dynamics["delta_psnr_4"]["ci95"]
    assert low <= dynamics["delta_psnr_4"]["mean"] <= high
    # Fifteen actions between sixteen frames, in at most nine groups.
    agreement = report["latent_actions"]["agreement"]
    assert np.sum(agreement["confusion"]) == 2 * 15
    assert np.sum(report["latent_actions"]["counts"]) == 2 * 15
    assert set(agreement["true_actions"]) <= set(range(9))
    (frechet,) = report["frechet"]
    assert (frechet["score"], frechet["network"]) == ("FVD-CoinRun", "CoinRun")
    rows = ("prediction", "repeat_prompt", "repeat_reconstruction", "ceiling")
    assert min(frechet[row] for row in rows) >= 0
    probe = report["action_probe"]
    assert probe["probe"] == "probe.keras"
    assert set(probe["rows"]) == {"real", "real_assigned", "generated"}
    long_play = report["long_play"]
    assert (long_play["plays"], long_play["ages"]) == (3, [1, 4])
    assert len(long_play["actions"]) == 3


def test_resize_scales_frames_to_model(run, user_folder, tmp_path):
    changes = {"preset": user_folder / "genie/model", "resize": True, "frames": 5}
    ended = run("evaluate", tmp_path, changes)
    assert ended.code == 0, ended.errors
    assert Image.open(tmp_path / "evaluation/prompt.png").size == (16, 16)


def test_markdown_and_images_show_scores(evaluated):
    names = {path.name for path in evaluated.iterdir()}
    assert names == {
        *("report.json", "report.md", "prompt.png", "reconstructions.png"),
        *("rollout.gif", "action_grid.gif", "action_grid.png"),
        *("horizon.png", "delta_psnr.png", "confusion.png", "code_usage.png"),
        *("long_play.gif", "long_play.png"),
    }
    report = json.loads((evaluated / "report.json").read_text())
    text = (evaluated / "report.md").read_text()
    assert text.startswith("# coinrun/tiny, split test: 2 clips\n")
    for row in report["dynamics"]["horizons"].values():
        medians = " | ".join(f"{x['psnr_median']['value']:.1f}" for x in row)
        assert f" | {medians} |" in text
    for words in (
        *("ceiling", "repeating the last frame", "right+down", "top-16"),
        *("repeating the prompt", "repeating its reconstruction", "frame of play"),
        *("Genie: all actions random", "GenieRedux: last action replaced"),
    ):
        assert words in text
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == 15
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    with Image.open(evaluated / "rollout.gif") as gif:
        # Truth, reconstruction and prediction of two clips, enlarged twice.
        assert gif.height == 3 * (2 * 64 + 2) - 2
    with Image.open(evaluated / "long_play.gif") as gif:
        # Real clips above plays.
        assert gif.height == 2 * (2 * 64 + 2) - 2
    for name in ("action_grid.gif", "action_grid.png"):
        with Image.open(evaluated / name) as grid:
            # Two rows of the prompt and three actions, below their names.
            assert grid.height == 14 + 2 * (2 * 64 + 2) - 2
            assert grid.width == 4 * (2 * 64 + 2) - 2


def test_evaluation_of_tokenizer_is_reproducible(trained, run):
    scores = []
    for output in ("first", "first", "second"):
        changes = {"preset": "tokenizer/model", "output": output, "overwrite": True}
        ended = run("evaluate", trained, {**changes, "actions": "as_is"})
        assert ended.code == 0, ended.errors
        report = json.loads((trained / output / "report.json").read_text())
        assert report.pop("seconds")["evaluation"] > 0
        scores.append(report)
    assert scores[0] == scores[1] == scores[2]
    assert not {"latent_actions", "dynamics", "sampling"} & scores[0].keys()
    assert {path.name for path in (trained / "first").iterdir()} == {
        *("report.json", "report.md"),
        *("prompt.png", "reconstructions.png", "code_usage.png"),
    }


def test_full_disk_is_reported_before_evaluation(run, user_folder, tmp_path):
    changes = {"preset": user_folder / "genie/model", "resize": True, "frames": 5}
    ended = run("evaluate", tmp_path, changes, largest_file=1_000_000)
    sentence = "Expected space for 16,777,216 bytes in .*/evaluation: File too large."
    ended.check_refused("evaluate", sentence)
    assert os.listdir(tmp_path) == []


NO_PRESET = (
    "There is no preset none: expected a folder, or the name of one that ships with .*"
)
NO_DATASET = "There is no dataset 'coinrn/tiny': genie_tf has coinrun/random_hard, .*"
NO_CONFIG = (
    "There is no dataset 'coinrun/easy': the configs of 'coinrun' are random_h.*"
)
NO_FOLDER = "cannot write to the folder file/below: choose another"
# Invalid input: the run, its changed flags, and a pattern of the error.
WRONG = [
    ("evaluate", {"dataset": "coinrn/tiny"}, NO_DATASET),
    ("evaluate", {"dataset": "coinrun/easy"}, NO_CONFIG),
    (
        "evaluate",
        {"split": "tset"},
        "Dataset 'coinrun/tiny' has no split 'tset': its splits are .*test.*",
    ),
    ("evaluate", {"preset": "none"}, NO_PRESET),
    (
        "evaluate",
        {"preset": "dynamics"},
        "A world, a tokenizer or a latent action model can be evaluated; received a "
        "MaskGitDynamics.",
    ),
    (
        "evaluate",
        {"output": "reported"},
        "reported already holds a report: choose another folder, or pass --overwrite",
    ),
    ("evaluate", {"frames": 4}, "flag --frames=4: .* 5"),
    ("evaluate", {"seed": -1}, "flag --seed=-1: .*non-negative.*"),
    ("evaluate", {"actions": "keys"}, "flag --actions=keys: .*<groups.as_is>.*"),
    (
        "evaluate",
        {"clips": 3},
        "coinrun/tiny, split test, has 2 clips of 16 frames; --clips asks for 3.",
    ),
    (
        "evaluate",
        {"strategy": "multi_worker"},
        "Evaluation runs on one machine: choose --strategy=one, mirrored or tpu.",
    ),
    (
        "evaluate",
        {"virtual_devices": 0},
        "virtual_devices must be 1 or more; is 0.",
    ),
    (
        "evaluate",
        {"preset": "part", "fvd_features": "wide.keras"},
        "FVD-wide needs 4 clips of 16 frames or more, because its network has 3 "
        "features; received 2.",
    ),
    ("evaluate", {"prompt_frames": 0}, "flag --prompt_frames=0: .*positive.*"),
    ("evaluate", {"predicted_frames": 0}, "flag --predicted_frames=0: .*positive.*"),
    (
        "evaluate",
        {"prompt_frames": 16},
        "Expected clips of more frames than the prompt of 16; received clips of 16.",
    ),
    *(
        (
            "evaluate",
            {"black_region": region},
            "Expected --black_region=TOP,LEFT,HEIGHT,WIDTH, four whole numbers of pixels; "
            f"received '{region}'.",
        )
        for region in ("1,2,3", "0,0,-1,4", "top")
    ),
    (
        "evaluate",
        {"black_region": "0,0,8,17", "resize": True},
        "Expected a region TOP,LEFT,HEIGHT,WIDTH inside frames of 16x16; received "
        "0,0,8,17.",
    ),
    (
        "evaluate",
        {"fvd_features": "wide.keras"},
        "FVD-wide needs 4 clips of 10 frames or more, because its network has 3 "
        "features; received 2.",
    ),
    (
        "evaluate",
        {"fid_features": "wide.keras"},
        r"For FID, the network wide must take float32 images \(batch, height, width, 3\), "
        r"of any batch size; it declares .*",
    ),
    (
        "evaluate",
        {"fvd_features": "none"},
        "A feature network must be an existing SavedModel folder, a .keras file or a handle "
        "such as .*; received 'none'.",
    ),
    *(
        ("evaluate", {"resize": True, **changes}, sentence)
        for changes, sentence in (
            (
                {"horizon": 20},
                "No episode of 'coinrun/tiny', split 'test', is long enough: requested "
                "clips of 21 frames; the longest episode has 20.",
            ),
            (
                {"horizon": 9},
                r"coinrun/tiny, split test, has \d clips of 10 frames \(a prompt and "
                r"--horizon\); --horizon_clips asks for 48.",
            ),
            (
                {
                    **{"split": "train", "frames": 10, "clips": 4},
                    **{"horizon": 16, "horizon_clips": 3},
                    "fvd_features": "wide.keras",
                },
                "FVD-wide needs 4 clips of 16 frames or more, because its network has 3 "
                "features; received 3.",
            ),
            (
                {"preset": "part", "horizon": 1},
                "--horizon needs a world; the preset is only a part of one.",
            ),
            (
                {"preset": "part", "action_probe": "probe.keras"},
                "--action_probe needs a world; the preset is only a part of one.",
            ),
            (
                {"action_probe": "none.keras"},
                "An action probe must be an existing .keras file written by "
                "genie-features; received 'none.keras'.",
            ),
            (
                {"action_probe": "probe.keras"},
                "probe.keras is not a probe of this dataset: expected one that "
                "genie-features trained on the same actions; received the network "
                "'action_probe_other'.",
            ),
        )
    ),
    ("evaluate", {"horizon_clips": 2}, "flag --horizon_clips=2: .* 3"),
    ("evaluate", {"horizon": -1}, "flag --horizon=-1: .*non-negative.*"),
    ("evaluate", {"output": "file/below"}, NO_FOLDER),
    ("evaluate", {"output": None}, "expected --output; see --help"),
    ("evaluate", {"clips": 1}, "flag --clips=1: .* 2"),
    (
        "evaluate",
        {},
        r"the model expects frames of \(16, 16, 3\); coinrun/tiny has frames of "
        r"\(64, 64, 3\)",
    ),
    (
        "evaluate",
        {"stride": 2},
        "No episode of 'coinrun/tiny', split 'test', is long enough: requested clips "
        "of 31 frames; the longest episode has 20.",
    ),
    (
        "evaluate",
        {"camera": "hand"},
        "The observations of dataset 'coinrun/tiny' have a single, unnamed camera; "
        "received camera 'hand'.",
    ),
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)
