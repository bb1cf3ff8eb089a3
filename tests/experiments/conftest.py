"""End-to-end runs of the programs that import TensorFlow only once."""

import dataclasses
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from PIL import Image

from genie_tf.datasets.procgen.environment import GAMES
from genie_tf.evaluation.action_probe import probe_name
from genie_tf.models import GuidedGenie, MaskGitDynamics
from genie_tf.testing.tiny_models import save_action_probe, tiny_genie

# TensorFlow's lines, which no program can suppress.
NOISE = re.compile(r"[IWEF]\d{4} |\d{4}-\d\d-\d\d |WARNING: All log messages before")


@dataclasses.dataclass
class Run:
    """Exit code and output of a program."""

    code: int
    out: str
    errors: list[str]

    def check_refused(self, app: str, sentence: str) -> None:
        """Check that a program printed one error, which matches a pattern."""
        assert self.code == 2, self.errors
        (line,) = self.errors
        assert re.fullmatch(f"{app}(.py)?: {sentence}", line), line


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


# Flags of a small but complete run, by name; the first word is the program.
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


# Files for --config.
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


@pytest.fixture(scope="session")
def server():
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("serve_apps.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="session")
def run_app(server, tmp_path_factory):
    """Function that runs a program with arguments in a folder.

    `largest_file` limits the bytes of a file; `terminate_at` names a file at whose first
    byte the program receives SIGTERM; `home` is the home folder.
    """
    printed = tmp_path_factory.mktemp("printed")

    def run(app: str, *arguments, folder: Path, **circumstances) -> Run:
        job = {
            "app": app,
            "arguments": [os.fspath(argument) for argument in arguments],
            "folder": os.fspath(folder),
            "printed": os.fspath(printed),
            **circumstances,
        }
        print(json.dumps(job), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        lines = (printed / "stderr").read_text().splitlines()
        errors = [line for line in lines if not NOISE.match(line)]
        return Run(code, (printed / "stdout").read_text(), errors)

    return run


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """Function that makes a folder once and shares it among all test processes."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make_folder(name: str, make: Callable[[Path], None]) -> Path:
        folder, stamp = root / name, root / f"{name}.made"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not stamp.exists():
                folder.mkdir()
                make(folder)
                stamp.touch()
        return folder

    return make_folder


@pytest.fixture(scope="session")
def data_dir(make_once):
    """TFDS folder of coinrun/tiny, episodes of 20 steps."""
    from genie_tf.datasets.coinrun import coinrun_dataset_builder

    config = coinrun_dataset_builder.CoinRunConfig(
        name="tiny",
        description="A few levels, for tests.",
        levels={"train": [1, 2, 3], "validation": [10_000], "test": [20_000, 20_001]},
        steps_per_level=20,
    )

    def build(folder):
        builder = coinrun_dataset_builder.Builder(config=config, data_dir=folder)
        builder.download_and_prepare()

    return make_once("datasets", build)


@pytest.fixture(scope="session")
def runs():
    """`RUNS`, which tests cannot import."""
    return RUNS


@pytest.fixture(scope="session")
def run(run_app, data_dir):
    """Function that runs one of `RUNS` with some flags changed, or omitted (None)."""

    def run_changed(name: str, folder: Path, changes: dict, **circumstances):
        flags = {**RUNS[name], **changes}
        if name not in ("generate", "export", "play"):
            flags["data_dir"] = data_dir
        arguments = [f"--{k}={v}" for k, v in flags.items() if v is not None]
        return run_app(name.split()[0], *arguments, folder=folder, **circumstances)

    return run_changed


def contents(folder: Path) -> dict:
    """Return all paths below a folder, with their modification times."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def trained(run, make_once, tmp_path_factory):
    """Folder of `tokenizer` and `genie`, trained for 3 steps; one copy per process."""

    def train(folder):
        for name in ("train tokenizer", "train genie"):
            ended = run(name, folder, {})
            assert ended.code == 0, ended.errors

    shared = make_once("trained", train)
    return shutil.copytree(shared, tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture(scope="session")
def evaluated(trained, run, make_once):
    """Output folder of genie-evaluate, `evaluation` in the folder `trained`."""

    def evaluate(folder):
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        save_feature_network(folder / "CoinRun.keras", width=1)
        name = probe_name(GAMES["coinrun"].actions)
        save_action_probe(folder / "probe.keras", name, 9, (64, 64))
        changes = {
            "fvd_features": "CoinRun.keras",
            "action_probe": "probe.keras",
            "horizon": 4,
            "horizon_clips": 3,
        }
        ended = run("evaluate", folder, changes)
        assert ended.code == 0, ended.errors

    shared = make_once("evaluated", evaluate)
    return shutil.copytree(shared / "evaluation", trained / "evaluation")


@pytest.fixture(scope="session")
def user_folder(tmp_path_factory):
    """Folder of a user: a Genie, a part of one, and unusable files."""
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
    arguments = {**genie.dynamics.arguments(), "action_dim": 5}
    guided = GuidedGenie(genie.tokenizer, MaskGitDynamics(**arguments))
    guided.save_to_preset(folder / "guided", "A card.")
    save_feature_network(folder / "wide.keras", width=3)
    save_action_probe(folder / "probe.keras", "action_probe_other", 2, (16, 16))
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


@pytest.fixture(scope="session")
def check_refused(run, user_folder):
    """Function that checks that one of `RUNS` prints one error and writes nothing.

    The error must match the pattern `sentence`. `unchanged` is a path in the folder.
    """

    def check(name, changes, sentence, folder=user_folder, unchanged="."):
        before = contents(folder / unchanged)
        run(name, folder, changes).check_refused(name.split()[0], sentence)
        assert contents(folder / unchanged) == before

    return check
