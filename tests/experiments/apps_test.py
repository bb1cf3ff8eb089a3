"""The apps as a user runs them: all stages on a tiny dataset, and every wrong input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image, ImageSequence

from genie_tf.experiments import configs, train
from genie_tf.models import LatentActionModel, VideoTokenizer
from genie_tf.presets.folder import read_config
from genie_tf.testing.tiny_models import save_action_probe, tiny_genie
from genie_tf.training.folder_lock import locked

CONFIGS = Path(configs.__file__).parent
TOKENIZER, GENIE = "train tokenizer", "train genie"
LOG = "tokenizer/metrics.jsonl"


def transformer(name: str) -> dict:
    sizes = {"dim": 16, "num_blocks": 1, "num_heads": 2}
    return {f"config.{name}.{size}": value for size, value in sizes.items()}


def training(stage: str, settings: dict) -> dict:
    return {
        "config": f"coinrun_{stage}:tiny",
        "workdir": stage,
        "config.dataset": "coinrun/tiny",
        "config.steps": 3,
        "config.batch_size": 2,
        "config.clip_length": 4,
        "config.validation_clips": 2,
        "config.log_every": 1,
        **settings,
    }


# Flags of a small but complete run, by what it makes; the app is the first word.
RUNS = {
    "train tokenizer": training(
        "tokenizer",
        {
            "config.model.patch_size": 32,
            "config.model.num_codes": 16,
            "config.model.code_dim": 8,
            **transformer("model.encoder"),
            **transformer("model.decoder"),
        },
    ),
    "train genie": training(
        "genie",
        {
            "config.tokenizer": "tokenizer/model",
            "config.latent_action_model.patch_size": 32,
            "config.latent_action_model.num_actions": 3,
            **transformer("latent_action_model.encoder"),
            **transformer("latent_action_model.decoder"),
            **transformer("dynamics.transformer"),
        },
    ),
    "train guided": training(
        "genie",
        {
            "workdir": "guided",
            "config.tokenizer": "tokenizer/model",
            "config.num_true_actions": 15,
            "config.dynamics.conditioning": "token",
            **transformer("dynamics.transformer"),
        },
    ),
    "evaluate": {
        "preset": "genie/model",
        "dataset": "coinrun/tiny",
        "output": "evaluation",
        "clips": 2,
        "steps": 2,
    },
    "generate": {
        "preset": "genie/model",
        "prompt": "evaluation/prompt.png",
        "actions": "0,1,2",
        "output": "out/video.png",
        "steps": 2,
    },
    "export": {"preset": "genie/model", "output": "runs/genie/saved_model"},
    "arrays": {"dataset": "coinrun/tiny", "output": "arrays"},
    "play": {"preset": "genie/model", "port": 0},
}


@pytest.fixture(scope="session")
def run(run_app, data_dir):
    """A function that runs one of `RUNS` with some flags changed, or left out (None)."""

    def run_changed(name: str, folder: Path, changes: dict, **circumstances):
        flags = {**RUNS[name], **changes}
        if name not in ("generate", "export", "play"):
            flags["data_dir"] = data_dir
        arguments = [f"--{k}={v}" for k, v in flags.items() if v is not None]
        return run_app(name.split()[0], *arguments, folder=folder, **circumstances)

    return run_changed


def contents(folder: Path) -> dict:
    """All that is below a folder, with when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def trained(run, tmp_path_factory):
    """Folder of `tokenizer` and `genie`, trained for 3 steps."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("train tokenizer", "train genie"):
        ended = run(name, folder, {})
        assert ended.code == 0, ended.errors
    return folder


@pytest.mark.parametrize("stage", ["tokenizer", "genie"])
def test_training_leaves_model_curves_and_checkpoint(trained, stage):
    workdir = trained / stage
    written = {path.name for path in workdir.iterdir()}
    assert written == {
        *("config.json", "history.json", "metrics.jsonl"),
        *("checkpoints", "tensorboard", "model"),
    }
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert "validation/loss" in records[-1]
    config = json.loads((workdir / "config.json").read_text())
    assert config["steps"] == 3 and config["stage"] == stage
    about = read_config(workdir / "model")
    kind = {"tokenizer": "VideoTokenizer", "genie": "Genie"}[stage]
    assert about["description"] == (
        f"{kind} trained on coinrun/tiny, for 3 steps of 2 clips of 4 frames."
    )
    assert about["dataset"] == "coinrun/tiny"
    command = f"genie-train --config=coinrun_{stage}:tiny --workdir={stage} "
    assert about["command"].startswith(command)
    assert about["scores"]["loss"] == records[-1]["validation/loss"]
    assert about["settings"] == config
    card = (workdir / "model/README.md").read_text()
    assert about["command"] in card
    assert f"| loss | {records[-1]['validation/loss']:.4g} |" in card


def test_a_guided_genie_is_a_tokenizer_and_a_dynamics(run, trained):
    ended = run("train guided", trained, {})
    assert ended.code == 0, ended.errors
    model = trained / "guided/model"
    assert read_config(model)["action_names"][7] == "right"
    parts = json.loads((model / "config.json").read_text())["parts"]
    assert list(parts) == ["tokenizer", "dynamics"]
    assert parts["dynamics"]["action_dim"] == 15


def test_trained_latent_actions_stay_as_they_are(run, trained):
    changes = {"workdir": "separate", "config.action_model": "genie/model"}
    ended = run("train genie", trained, changes)
    assert ended.code == 0, ended.errors
    before, after = (
        LatentActionModel.from_preset(trained / folder / "model").get_weights()
        for folder in ("genie", "separate")
    )
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_guided_genie_needs_actions():
    config = ConfigDict({"num_true_actions": 15, "dataset": "coinrun/tiny"})
    with pytest.raises(ValueError) as error:
        train._check_actions(config, {})
    assert str(error.value) == (
        "config.num_true_actions=15 needs a dataset with discrete actions; coinrun/tiny has "
        "none."
    )


def test_genie_takes_the_tokenizer_as_it_is(trained):
    within, alone = (
        VideoTokenizer.from_preset(trained / stage / "model").weights
        for stage in ("genie", "tokenizer")
    )
    for found, expected in zip(within, alone, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_finished_training_may_be_run_again(trained, run):
    log = trained / "tokenizer/metrics.jsonl"
    before = log.read_text()
    ended = run("train tokenizer", trained, {})
    assert (ended.code, log.read_text()) == (0, before), ended.errors


def test_a_training_that_is_terminated_saves_and_goes_on(tmp_path, run):
    ended = run(TOKENIZER, tmp_path, {"config.steps": 1_000_000}, terminate_at=LOG)
    assert ended.code == 0, ended.errors
    message = r"Stopped at step (\d+) and saved: rerun the same command to resume.\n"
    step = int(re.fullmatch(message, ended.out)[1])
    assert not (tmp_path / "tokenizer/model").exists()
    ended = run(TOKENIZER, tmp_path, {"config.steps": step + 1})
    assert ended.code == 0, ended.errors
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).open()]
    assert steps == list(range(1, step + 2))


# Ends as the app does; but with an error if TensorFlow was imported.
WITHOUT_TENSORFLOW = """
import runpy, sys
try:
    runpy.run_module("genie_tf.experiments.train", run_name="__main__", alter_sys=True)
finally:
    assert "tensorflow" not in sys.modules
"""


def train_on_jax(folder: Path, changes: dict) -> subprocess.CompletedProcess:
    flags = {**RUNS[TOKENIZER], **changes}
    return subprocess.run(
        [
            *(sys.executable, "-c", WITHOUT_TENSORFLOW),
            *(f"--{name}={value}" for name, value in flags.items()),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )


def test_jax_trains_from_arrays_and_tensorflow_goes_on(tmp_path, run):
    ended = run("arrays", tmp_path, {})
    assert ended.code == 0, ended.errors
    changes = {"config.dataset": "arrays", "config.evaluate_every": 2}
    devices = {"virtual_devices": 2, "mesh": "fsdp:2"}
    ended = train_on_jax(tmp_path, {**changes, **devices, "config.steps": 2})
    assert ended.returncode == 0, ended.stderr
    ended = run(TOKENIZER, tmp_path, changes)
    assert ended.code == 0, ended.errors
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).open()]
    assert steps == [1, 2, 3]


def run_generate(folder: Path, **circumstances) -> subprocess.CompletedProcess:
    """Run genie-generate in a process of its own, as a user does."""
    Image.new("RGB", (16, 16)).save(folder / "a.png")
    flags = {"preset": "genie_coinrun_fast", "prompt": "a.png"}
    flags |= {"actions": "0", "output": "a.gif"}
    program = "from genie_tf.experiments.launch import generate; generate()"
    command = [sys.executable, "-c", program, *(f"--{k}={v}" for k, v in flags.items())]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, **circumstances
    )


@pytest.mark.parametrize(
    ("variables", "settings", "sentence"),
    [
        (
            {"KERAS_BACKEND": "torch"},
            "{}",
            "the backend of Keras must be tensorflow or jax; the environment variable "
            "KERAS_BACKEND says 'torch'",
        ),
        (
            {},
            '{"backend": "numpy"}',
            "the backend of Keras must be tensorflow or jax; keras.json says 'numpy'",
        ),
        (
            {},
            '{"image_data_format": "channels_first"}',
            "the image_data_format of Keras must be channels_last; keras.json says "
            "'channels_first'",
        ),
        (
            {},
            '{"epsilon": "small"}',
            "the epsilon of Keras in keras.json must be a number such as 1e-7",
        ),
        (
            {},
            "{",
            "keras.json must hold the settings of Keras as JSON, or be deleted: Expecting "
            "property name .*",
        ),
        (
            {},
            "3",
            "keras.json must hold the settings of Keras as JSON, or be deleted: .*",
        ),
    ],
)
def test_settings_of_keras_that_do_not_work(tmp_path, variables, settings, sentence):
    (tmp_path / "keras.json").write_text(settings)
    environment = {**os.environ, "KERAS_HOME": "", **variables}
    ended = run_generate(tmp_path, env=environment)
    assert ended.returncode == 2, ended.stderr
    assert re.fullmatch(f"-c: {sentence}\n", ended.stderr), ended.stderr


def test_a_program_says_nothing_about_a_gpu_that_is_not_there(tmp_path, trained):
    """Neither do its libraries: all that is on stderr is its own."""
    command = ["-m", "genie_tf.experiments.export", "--output=exported"]
    command += [f"--preset={trained}/tokenizer/model"]
    ended = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_reader_that_leaves_ends_a_program(tmp_path):
    command = ["-m", "genie_tf.experiments.train", "--help"]
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_output_that_cannot_be_written_is_told(tmp_path):
    command = ["-m", "genie_tf.experiments.plan"]
    command += ["--config=coinrun_tokenizer:tiny"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, *command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 2
    assert ended.stderr == (
        "plan.py: cannot write to standard output: [Errno 28] No space left on device\n"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mesh": "data"}, "A mesh must be like data:4,model:2; received 'data'."),
        (
            {"strategy": "mirrored"},
            "--strategy and --tpu are for TensorFlow; with KERAS_BACKEND=jax all "
            "devices of this machine are used, as --mesh says.",
        ),
    ],
)
def test_wrong_devices_of_jax(tmp_path, changes, sentence):
    ended = train_on_jax(tmp_path, changes)
    assert ended.returncode == 2
    assert ended.stderr == f"train.py: {sentence}\n"
    assert contents(tmp_path) == {}


def test_a_disk_too_small_leaves_the_last_checkpoint(tmp_path, run):
    assert run(TOKENIZER, tmp_path, {}).code == 0
    changes = {"config.steps": 4, "config.checkpoint_every": 1}
    ended = run(TOKENIZER, tmp_path, changes, largest_file=50_000)
    assert ended.code == 2, ended.errors
    # Above it is the progress bar.
    assert re.fullmatch(
        r"train.py: stopped: \[Errno 27\] File too large; rerun the same command to "
        "resume from the last checkpoint, step 3",
        ended.errors[-1],
    ), ended.errors
    checkpoints = tmp_path / "tokenizer/checkpoints"
    assert {path.name for path in checkpoints.iterdir()} <= {
        f"step_0000000{step}" for step in (1, 2, 3)
    }
    assert run(TOKENIZER, tmp_path, changes).code == 0


@pytest.fixture(scope="session")
def evaluated(trained, run):
    save_feature_network(trained / "CoinRun.keras", width=1)
    save_action_probe(trained / "probe.keras", 9, (64, 64))
    changes = {
        "fvd_features": "CoinRun.keras",
        "action_probe": "probe.keras",
        "horizon": 4,
        "horizon_clips": 3,
    }
    ended = run("evaluate", trained, changes)
    assert ended.code == 0, ended.errors
    return trained / "evaluation"


def test_report(evaluated):
    report = json.loads((evaluated / "report.json").read_text())
    assert set(report) == {
        *("model", "preset", "dataset", "split", "camera", "stride", "resize"),
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
    # Fifteen actions between sixteen frames, in nine groups at most.
    agreement = report["latent_actions"]["agreement"]
    assert np.sum(agreement["confusion"]) == 2 * 15
    assert np.sum(report["latent_actions"]["counts"]) == 2 * 15
    assert set(agreement["num_true_actions"]) <= set(range(9))
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


def test_frames_are_scaled_to_those_of_the_model(run, user_folder, tmp_path):
    changes = {"preset": user_folder / "genie/model", "resize": True, "frames": 5}
    ended = run("evaluate", tmp_path, changes)
    assert ended.code == 0, ended.errors
    assert Image.open(tmp_path / "evaluation/prompt.png").size == (16, 16)


def test_evaluation_is_readable(evaluated):
    names = {path.name for path in evaluated.iterdir()}
    assert names == {
        *("report.json", "report.md", "prompt.png", "reconstructions.png"),
        *("rollout.gif", "action_grid.gif", "action_grid.png"),
        *("horizon.png", "confusion.png", "code_usage.png"),
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
    ):
        assert words in text
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == 14
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    with Image.open(evaluated / "rollout.gif") as gif:
        # Truth, reconstruction and prediction of two clips, twice as large.
        assert gif.height == 3 * (2 * 64 + 2) - 2
    with Image.open(evaluated / "long_play.gif") as gif:
        # Real clips above plays.
        assert gif.height == 2 * (2 * 64 + 2) - 2
    for name in ("action_grid.gif", "action_grid.png"):
        with Image.open(evaluated / name) as grid:
            # Two prompts; the prompt and three actions, under their names.
            assert grid.height == 14 + 2 * (2 * 64 + 2) - 2
            assert grid.width == 4 * (2 * 64 + 2) - 2


def test_a_part_alone_is_evaluated_twice_alike(trained, run):
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


def test_generated_videos(trained, evaluated, run):
    prompt = np.array(Image.open(trained / "evaluation/prompt.png"))
    for name in ("video.png", "video.gif"):
        ended = run("generate", trained, {"output": f"out/{name}"})
        assert ended.code == 0, ended.errors
        assert ended.out == f"Wrote out/{name}: the prompt and 3 frames.\n"
    assert prompt.shape == (64, 64, 3)
    strip = np.array(Image.open(trained / "out/video.png"))
    assert strip.shape == (64, 4 * 64, 3)
    # Equal seeds give equal videos, but a GIF has 256 colors alone.
    with Image.open(trained / "out/video.gif") as gif:
        first = np.array(gif.convert("RGB")).astype(int)
    assert np.abs(first - strip[:, :64]).mean() < 4


def test_prompts_of_any_size(run, user_folder, tmp_path):
    Image.new("RGB", (200, 100), "white").save(tmp_path / "wide.jpg")
    changes = {"preset": user_folder / "genie/model", "prompt": "wide.jpg"}
    for fit in ("crop", "pad"):
        ended = run(
            "generate", tmp_path, {**changes, "fit": fit, "output": f"{fit}.png"}
        )
        assert ended.code == 0, ended.errors
    cut, padded = (np.array(Image.open(tmp_path / f"{x}.png")) for x in ("crop", "pad"))
    assert cut.shape == padded.shape == (16, 4 * 16, 3)
    assert (cut[:, :16] != padded[:, :16]).any()


def test_a_saved_model_plays_as_the_readme_says(run, user_folder, tmp_path):
    preset = user_folder / "genie/model"
    ended = run("export", tmp_path, {"preset": preset})
    assert ended.code == 0, ended.errors
    assert ended.out == "Wrote runs/genie/saved_model.\n"
    shutil.copy(user_folder / "evaluation/prompt.png", tmp_path / "frame.png")
    readme = Path(__file__).resolve().parents[2] / "README.md"
    examples = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    (example,) = [code for code in examples if "saved_model" in code]
    # Without genie_tf and Keras, and with nothing alive that has no name.
    example = example.replace("sampling = {", "import gc; gc.collect()\nsampling = {")
    program = (
        f"import sys; sys.modules['genie_tf'] = sys.modules['keras'] = None\n{example}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "world.gif") as gif:
        frames = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        assert (gif.size, sum(frames)) == ((16, 16), 10 * 100)


@pytest.mark.parametrize(
    ("app", "example"),
    [
        ("train", "genie-train --config=coinrun_tokenizer:tiny"),
        ("evaluate", "genie-evaluate --preset=runs/genie/model --dataset="),
        ("generate", "genie-generate --preset=runs/genie/model --prompt=frame.png"),
        ("export", "genie-export --preset=runs/genie/model --output="),
        ("play", "genie-play --preset=runs/genie/model"),
        ("demo", "genie-demo --output=runs/demo"),
    ],
)
def test_help_shows_an_example_and_the_flags(run_app, tmp_path, app, example):
    ended = run_app(app, "--help", folder=tmp_path)
    assert ended.errors == []
    assert example in ended.out
    flags = {"train": "workdir", "demo": "data_dir"}
    assert f"--{flags.get(app, 'preset')}: " in ended.out


# Wrong input: which run, what is changed, and the sentence that comes, a pattern.

NO_PRESET = (
    "There is no preset none: expected a folder, or the name of one that ships with .*"
)
NO_DATASET = "There is no dataset 'coinrn/tiny': genie_tf has coinrun/random_hard, .*"
NO_CONFIG = (
    "There is no dataset 'coinrun/easy': the configs of 'coinrun' are random_h.*"
)
NO_FOLDER = "cannot write in the folder file/below: choose another"
ACTIONS = "--actions must be numbers from 0 to 4, with commas between; received "
WRONG = [
    (
        TOKENIZER,
        {"config": "none.py:tiny"},
        "flag --config=none.py:tiny: there is no config none.py: expected FILE.py:SIZE, or "
        r"NAME:SIZE of one that ships with genie_tf \(coinrun_causal, .*\)",
    ),
    (
        TOKENIZER,
        {"config": "coinrun_tokenizer:huge"},
        "flag --config=coinrun_tokenizer:huge: the size after the colon in --config must "
        "be one of paper, fast, tiny; received 'huge'",
    ),
    *(
        (TOKENIZER, {"config": config}, f"flag --config={config}: {sentence}")
        for config, sentence in (
            (
                "no.py:tiny",
                r"no.py fails: SyntaxError: invalid syntax \(no.py, line 1\)",
            ),
            ("empty.py", "empty.py has no function get_config, which makes a config"),
            ("raises.py", "raises.py fails: ZeroDivisionError: division by zero"),
            (
                "imports.py",
                "imports.py fails: ModuleNotFoundError: No module named 'no'",
            ),
            ("exits.py", "exits.py fails: SystemExit: 1"),
            ("sized.py", "sized.py needs a size after a colon"),
            ("unsized.py:tiny", "unsized.py takes no size after a colon"),
            (
                "unsized.py",
                "get_config of unsized.py must return an ml_collections.ConfigDict; "
                "returned NoneType",
            ),
        )
    ),
    (TOKENIZER, {"workdir": None}, "expected --workdir, which --help describes"),
    (TOKENIZER, {"workdir": "file/below"}, NO_FOLDER),
    (
        TOKENIZER,
        {"workdir": "kept"},
        "kept/model is not the folder of a trained model: expected a readable "
        "kept/model/config.json.",
    ),
    (TOKENIZER, {"config.nonsense": 1}, "the config has no setting 'nonsense'"),
    (TOKENIZER, {"nonsense": 1}, "Unknown command line flag 'nonsense'"),
    (TOKENIZER, {"config.steps.x": 1}, "the config has no setting 'steps.x'"),
    (
        TOKENIZER,
        {"config.clip_norm": "nan"},
        "--config.clip_norm must be a finite number; received nan",
    ),
    (
        TOKENIZER,
        {"config.seed": 2**31},
        r"--config.seed must be between -2\^31 and 2\^31; received 2147483648",
    ),
    (
        TOKENIZER,
        {"device_tflops": "inf"},
        "--device_tflops must be a finite number; received inf",
    ),
    (TOKENIZER, {"flagfile": "none"}, ".* Unable to open flagfile: .* 'none'"),
    (TOKENIZER, {"config.steps": "many"}, "flag --config.steps=many: .*'many'"),
    (
        TOKENIZER,
        {"config.steps": 0},
        "config.steps must be a whole number of 1 or more; is 0.",
    ),
    (
        TOKENIZER,
        {"config.schedule.peak": -1},
        "config.schedule.peak must be a finite number above 0; is -1.0.",
    ),
    (
        TOKENIZER,
        {"config": "mine.py"},
        "The config lacks camera; `choose_size` in .* fills in what has a default.",
    ),
    (
        TOKENIZER,
        {"config.steps_per_call": 2},
        "config.log_every must be a multiple of config.steps_per_call=2; is 1.",
    ),
    (
        "train genie",
        {"config.latent_action_model.quantizer.quantize_after": 3},
        "config.latent_action_model.quantizer.quantize_after must be less than config.steps"
        "=3, or codes never begin; is 3.",
    ),
    (
        "train guided",
        {"config.action_model": "lam/model"},
        "config.num_true_actions and config.action_model were both given; a world is "
        "steered by one of the two.",
    ),
    (
        TOKENIZER,
        {"config.precision": "float16"},
        "config.precision must be float32 or mixed_bfloat16; is 'float16'.",
    ),
    (
        TOKENIZER,
        {"config.accumulate": 3},
        "A batch must split evenly over 1 replicas and 3 parts each; received 2 clips.",
    ),
    (
        TOKENIZER,
        {"strategy": "zero3"},
        "The strategy must be one of auto, one, mirrored, multi_worker, tpu; received "
        "'zero3'.",
    ),
    (
        TOKENIZER,
        {"virtual_devices": 0},
        "virtual_devices must be 1 or more; is 0.",
    ),
    (
        TOKENIZER,
        {"config.best_is": "best"},
        "config.best_is must be lowest or highest; is 'best'.",
    ),
    (
        TOKENIZER,
        {"config.train_split": "tarin"},
        "Dataset 'coinrun/tiny' has no split 'tarin': its splits are .*train.*",
    ),
    (
        TOKENIZER,
        {"workdir": "gs://bucket/run"},
        "flag --workdir=gs://bucket/run: Expected a path .*'gs://bucket/run'.*",
    ),
    (TOKENIZER, {"config.dataset": "coinrn/tiny"}, NO_DATASET),
    (TOKENIZER, {"config.dataset": "coinrun/easy"}, NO_CONFIG),
    (
        TOKENIZER,
        {"config.clip_length": 21},
        "No episode of 'coinrun/tiny', split 'validation', is long enough: clips of 21 "
        "frames were asked for and the longest episode has 20.",
    ),
    (
        TOKENIZER,
        {"config.stage": "world"},
        "config.stage must be tokenizer, latent_action_model or genie; received "
        "'world'.",
    ),
    (
        TOKENIZER,
        {"config.model.encoder.num_heads": 3},
        "`num_heads` must divide `dim` .* received dim=16, num_heads=3.",
    ),
    (
        TOKENIZER,
        {"config.model.patch_size": 0},
        "`patch_size` must be a whole number from 1 to 2147483647; received 0.",
    ),
    (
        TOKENIZER,
        {"config.model.frame_shape": "(32, 32, 3)"},
        r"the model is for frames of \(32, 32, 3\); coinrun/tiny has frames of "
        r"\(64, 64, 3\)",
    ),
    (
        TOKENIZER,
        {"config.schedule.shape": "square"},
        '`shape` must be "linear" or "cosine"; received shape="square".',
    ),
    (
        TOKENIZER,
        {"config.optimizer.name": "sgd"},
        '`name` of the optimizer must be "adamw" or "muon"; received "sgd".',
    ),
    (
        GENIE,
        {"config.tokenizer": "part", "config.dynamics.conditioning": "film"},
        "`conditioning` must be one of add, concat, token; received 'film'.",
    ),
    (
        GENIE,
        {"config.tokenizer": "part", "config.action_model": "none"},
        NO_PRESET,
    ),
    (
        GENIE,
        {"config.tokenizer": None},
        "Genie needs a trained tokenizer: give its folder as "
        "--config.tokenizer=WORKDIR/model.",
    ),
    (GENIE, {"config.tokenizer": "none"}, NO_PRESET),
    ("evaluate", {"dataset": "coinrn/tiny"}, NO_DATASET),
    ("evaluate", {"dataset": "coinrun/easy"}, NO_CONFIG),
    *(
        (
            TOKENIZER,
            {f"config.{split}_split": "train[:abc]"},
            r"Dataset 'coinrun/tiny' has no split 'train\[:abc\]': its splits are .*",
        )
        for split in ("train", "validation")
    ),
    (
        TOKENIZER,
        {"config.train_split": "train[:0]"},
        r"No episode of 'coinrun/tiny', split 'train\[:0\]', is long enough: .*",
    ),
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
        "there is a report in reported: choose another folder, or --overwrite",
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
        "An evaluation runs on one machine: choose --strategy=one, mirrored or tpu.",
    ),
    (
        "evaluate",
        {"virtual_devices": 0},
        "virtual_devices must be 1 or more; is 0.",
    ),
    (
        "evaluate",
        {"preset": "part", "fid_features": "network"},
        "--fid_features and --fvd_features compare predicted frames, which a Genie makes "
        "alone.",
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
        r"of any batch; it declares .*",
    ),
    (
        "evaluate",
        {"fvd_features": "none"},
        "A feature network must be the folder of a SavedModel, a .keras file or a handle "
        "such as .*; 'none' is none that exists.",
    ),
    *(
        ("evaluate", {"preset": "genie/model", "resize": True, **changes}, sentence)
        for changes, sentence in (
            (
                {"horizon": 20},
                "No episode of 'coinrun/tiny', split 'test', is long enough: clips of 21 "
                "frames were asked for and the longest episode has 20.",
            ),
            (
                {"horizon": 9},
                r"coinrun/tiny, split test, has \d clips of 10 frames, the prompt and "
                "--horizon; --horizon_clips asks for 32.",
            ),
            (
                {"action_probe": "wide.keras"},
                r"wide.keras is not a probe of this dataset: expected video of frames "
                r"\(16, 16, 3\) and logits of 9 groups of actions; it takes .*",
            ),
        )
    ),
    (
        "evaluate",
        {"preset": "part", "resize": True, "horizon": 1},
        "--horizon measures a world; the preset is only a part of one.",
    ),
    ("evaluate", {"horizon_clips": 2}, "flag --horizon_clips=2: .* 3"),
    ("evaluate", {"output": "file/below"}, NO_FOLDER),
    ("evaluate", {"output": None}, "expected --output, which --help describes"),
    ("evaluate", {"clips": 1}, "flag --clips=1: .* 2"),
    (
        "evaluate",
        {},
        r"the model is for frames of \(16, 16, 3\); coinrun/tiny has frames of "
        r"\(64, 64, 3\)",
    ),
    (
        "evaluate",
        {"stride": 2},
        "No episode of 'coinrun/tiny', split 'test', is long enough: clips of 31 frames "
        "were asked for and the longest episode has 20.",
    ),
    (
        "evaluate",
        {"camera": "hand"},
        "The observations of dataset 'coinrun/tiny' are of one camera without a name; "
        "received 'hand'.",
    ),
    ("arrays", {"output": "file/below"}, NO_FOLDER),
    ("arrays", {"output": "part"}, "part exists already: choose another folder."),
    ("arrays", {"dataset": "coinrun/easy"}, NO_CONFIG),
    ("generate", {"preset": "none"}, NO_PRESET),
    ("export", {"preset": "none"}, NO_PRESET),
    (
        "export",
        {"preset": "dynamics"},
        "A Genie or a tokenizer can be exported; received a MaskGitDynamics.",
    ),
    ("export", {"output": "part"}, "part exists already: choose another folder."),
    ("export", {"output": "file/below"}, NO_FOLDER),
    ("export", {"output": None}, "expected --output, which --help describes"),
    ("generate", {"prompt": "none.png"}, "There is no prompt image none.png."),
    (
        "generate",
        {"prompt": "text.png"},
        "The prompt image text.png cannot be used: it cannot be read as a PNG, JPEG or "
        "GIF image.",
    ),
    (
        "generate",
        {"temperature": "nan"},
        "--temperature must be a finite number; received nan",
    ),
    (
        "generate",
        {"steps": 10**30},
        r"--steps must be between -2\^31 and 2\^31; received 10+",
    ),
    ("generate", {"fit": "stretch"}, "flag --fit=stretch: .*<crop.pad>.*"),
    (
        "generate",
        {"preset": "part"},
        "Expected part to hold a world, .*; its config.json describes a VideoTokenizer.",
    ),
    ("generate", {"actions": "0,5"}, f"{ACTIONS}'0,5'."),
    ("generate", {"actions": "-1"}, f"{ACTIONS}'-1'."),
    ("generate", {"actions": "1,left"}, f"{ACTIONS}'1,left'."),
    ("generate", {"actions": ""}, f"{ACTIONS}''."),
    (
        "generate",
        {"output": "video.avi"},
        "A video's file name must end in .gif, .mp4 or .png; received video.avi.",
    ),
    (
        "generate",
        {"output": "file/below/a.gif"},
        "cannot write in the folder file/below: choose another",
    ),
    (
        "generate",
        {"output": "a.gif", "fps": 60},
        r"A GIF's `fps` must be in \(0, 50\]; received 60.",
    ),
    ("generate", {"seed": 2**31}, "flag --seed=2147483648: .*2147483647.*"),
    ("play", {"preset": "none"}, NO_PRESET),
    (
        "play",
        {"host": "192.0.2.1"},
        "Cannot serve at 192.0.2.1, port 0: Cannot assign requested address. Choose "
        "another.",
    ),
    ("generate", {"fps": 1001}, "flag --fps=1001: .*1000.*"),
    ("play", {"fps": 51}, "flag --fps=51: .*50.*"),
    (
        "play",
        {"steps": 26},
        "Worlds are played with a `num_steps` of at most 25; received 26.",
    ),
]


# Files given as --config.
CONFIG_FILES = {
    "no": "version = attr: 1",
    "empty": "",
    "raises": "def get_config():\n  1 / 0",
    "imports": "import no",
    "mine": """from genie_tf.experiments.configs import coinrun_tokenizer
def get_config():
  config = coinrun_tokenizer.get_config('tiny')
  del config.camera
  return config""",
    "exits": "raise SystemExit(1)",
    "sized": "def get_config(size):\n  pass",
    "unsized": "def get_config():\n  pass",
}


def check_refused(ended, app: str, sentence: str):
    assert ended.code == 2, ended.errors
    (line,) = ended.errors
    assert re.fullmatch(f"{app}(.py)?: {sentence}", line), line


@pytest.fixture(scope="session")
def user_folder(tmp_path_factory):
    """What a user may have: a Genie, a part of one, and some files that do not fit."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "file").write_text("no folder")
    for name, text in CONFIG_FILES.items():
        (folder / f"{name}.py").write_text(text + "\n")
    (folder / "text.png").write_text("no image")
    (folder / "evaluation").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "evaluation/prompt.png")
    genie = tiny_genie()
    genie.save_to_preset(folder / "genie/model", "A card.")
    genie.tokenizer.save_to_preset(folder / "part", "A card.")
    genie.dynamics.save_to_preset(folder / "dynamics", "A card.")
    save_feature_network(folder / "wide.keras", width=3)
    (folder / "kept/model").mkdir(parents=True)
    (folder / "reported").mkdir()
    (folder / "reported/report.json").write_text("{}")
    return folder


def save_feature_network(path: Path, width: int):
    """Write a network of mean colors, named as its file."""
    video = keras.Input((None, None, None, 3))
    mean = keras.layers.GlobalAveragePooling3D()(video)
    features = keras.layers.Dense(width)(mean)
    keras.Model(video, features, name=path.stem).save(path)


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_wrong_input_is_told_in_one_sentence(run, user_folder, name, changes, sentence):
    before = contents(user_folder)
    ended = run(name, user_folder, changes)
    check_refused(ended, name.split()[0], sentence)
    assert contents(user_folder) == before


@pytest.mark.parametrize(
    "app", ["arrays", "train", "evaluate", "generate", "export", "play", "demo"]
)
def test_words_without_a_flag_are_refused(run_app, tmp_path, app):
    needed = {name.split()[0]: flags for name, flags in RUNS.items()}.get(app, {})
    arguments = [f"--{flag}={value}" for flag, value in needed.items()]
    ended = run_app(app, *arguments, "more", "words", folder=tmp_path)
    check_refused(ended, app, "expected only flags; received more words")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"config.model.encoder.dim": 32},
            "The checkpoint tokenizer/checkpoints/step_00000003 is of a model with "
            "encoder.dim=16, where the config asks for 32: go on with .*",
        ),
        (
            {"config.steps": 2},
            "tokenizer has been trained for 3 steps already, and config.steps asks for "
            "2.",
        ),
        (
            {"config.steps": 4, "config.batch_size": 4, "config.seed": 1},
            "The 3 steps in tokenizer were trained with other settings: "
            "config.batch_size was 2, is 4; config.seed was 0, is 1. Give .* "
            "--allow_change, which is recorded.",
        ),
        (
            {"workdir": "tokenizer/model"},
            "tokenizer/model holds a trained model: choose another --workdir.",
        ),
    ],
)
def test_a_workdir_of_another_training_is_left_alone(trained, run, changes, sentence):
    before = contents(trained / "tokenizer")
    check_refused(run("train tokenizer", trained, changes), "train", sentence)
    assert contents(trained / "tokenizer") == before


def test_a_change_that_is_allowed_is_told_by_the_model(trained, run, tmp_path):
    shutil.copytree(trained / "tokenizer", tmp_path / "tokenizer")
    changes = {"config.steps": 4, "config.batch_size": 4}
    ended = run(TOKENIZER, tmp_path, {**changes, "allow_change": True})
    assert ended.code == 0, ended.errors
    description = (
        "VideoTokenizer trained for 4 steps. Steps 1 to 3: batch_size 2, decay steps 3 "
        "to 3. Steps 4 to 4: batch_size 4, decay steps 4 to 4."
    )
    about = read_config(tmp_path / "tokenizer/model")
    assert about["description"] == description
    assert about["dataset"] == "coinrun/tiny"
    assert about["command"].count("genie-train --config=") == 2
    assert [x["batch_size"] for x in about["settings"]["phases"]] == [2, 4]
    assert description in (tmp_path / "tokenizer/model/README.md").read_text()
    # The same command resumes without being allowed to.
    assert run(TOKENIZER, tmp_path, changes).code == 0


def test_one_training_at_a_time_has_a_workdir(trained, run):
    with locked(trained / "tokenizer"):
        before = contents(trained / "tokenizer")
        ended = run(TOKENIZER, trained, {"config.steps": 4})
        assert contents(trained / "tokenizer") == before
    holder = rf"\(process {os.getpid()} of .*, since .*\)"
    sentence = (
        f"Another program is training in tokenizer {holder}: wait for its end, .*"
    )
    check_refused(ended, "train", sentence)


def test_a_disk_too_small_for_a_report_is_noticed_first(run, user_folder, tmp_path):
    changes = {"preset": user_folder / "genie/model", "resize": True, "frames": 5}
    ended = run("evaluate", tmp_path, changes, largest_file=1_000_000)
    sentence = "Expected space for 16,777,216 bytes in .*/evaluation: File too large."
    check_refused(ended, "evaluate", sentence)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("largest_file", [30_000, 200_000])
def test_a_disk_too_small_for_a_saved_model(run, user_folder, tmp_path, largest_file):
    changes = {"preset": user_folder / "part", "output": "saved_model"}
    ended = run("export", tmp_path, changes, largest_file=largest_file)
    sentence = r"(saved_model cannot be written: |\[Errno 27\] )File too large.*"
    check_refused(ended, "export", sentence)
    assert os.listdir(tmp_path) == []
