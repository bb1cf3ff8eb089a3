"""End-to-end runs of genie-tokenize, and training from tokens."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets import token_cache
from genie_tf.datasets.array_episodes import write_arrays
from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.episodes import open_episodes
from genie_tf.datasets.procgen.environment import GAMES
from genie_tf.errors import DataError
from genie_tf.experiments import cli, configs
from genie_tf.models import VideoTokenizer
from genie_tf.presets.saving import digest
from genie_tf.testing.tiny_models import tiny_tokenizer

TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2}
TRAINING = {
    "config": f"{Path(configs.__file__).parent}/coinrun_genie.py:tiny",
    "config.tokenizer": "one",
    "config.steps": 3,
    "config.batch_size": 2,
    "config.clip_length": 4,
    "config.validation_clips": 2,
    "config.log_every": 1,
    "config.latent_action_model.patch_size": 32,
    **{
        f"config.{part}.{name}": value
        for part in (
            *(
                "latent_action_model.encoder",
                "latent_action_model.decoder",
                "dynamics.transformer",
            ),
        )
        for name, value in TRANSFORMER.items()
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of tokenizers: `one` sees one frame, `many` all earlier ones, `other` one."""
    folder = tmp_path_factory.mktemp("tokens")
    for name, changes in {
        "one": {"encoder": {**TRANSFORMER, "window": 1}},
        "many": {},
        "other": {"encoder": {**TRANSFORMER, "window": 1}, "num_codes": 25},
    }.items():
        tokenizer = tiny_tokenizer(
            **{"frame_shape": (64, 64, 3), "patch_size": 32, **changes}
        )
        tokenizer.save_to_preset(folder / name, "For tests.")
    return folder


@pytest.fixture(scope="module")
def tokenize(run_app, folder, data_dir):
    """Function that runs genie-tokenize with some flags changed."""

    def tokenize_changed(changes=(), **circumstances):
        flags = {
            "preset": "one",
            "dataset": "coinrun/tiny",
            "output": "tokens",
            "data_dir": data_dir,
            **dict(changes),
        }
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        return run_app("tokenize_dataset", *arguments, folder=folder, **circumstances)

    return tokenize_changed


@pytest.fixture(scope="module")
def tokens(tokenize, folder):
    ended = tokenize()
    assert ended.code == 0, ended.errors
    assert ended.out.endswith(
        "Wrote tokens. To train on it, pass it as --config.dataset.\n"
    )
    assert not (folder / "tokens.unfinished").exists()
    return folder / "tokens"


def clips(folder, dataset, tokenizer="one", clip_length=5, stride=1, **settings):
    known = digest(VideoTokenizer.from_preset(folder / tokenizer))
    episodes = open_episodes(str(dataset), "train", tokenizer=known, **settings)
    batches = ClipDataset(episodes, clip_length, stride).batches(3, seed=7)
    batch = next(batches)
    batches.close()
    return batch


def test_clips_match_dataset_and_have_tokens(folder, tokens, data_dir):
    actual = clips(folder, tokens)
    expected = clips(folder, "coinrun/tiny", data_dir=data_dir)
    tokenizer = VideoTokenizer.from_preset(folder / "one")
    assert actual["tokens"].dtype == np.int32
    np.testing.assert_array_equal(
        actual.pop("tokens"), tokenizer.tokenize(expected["video"])
    )
    np.testing.assert_equal(actual, expected)
    actions = open_episodes(str(tokens), "train").actions
    assert actions == GAMES["coinrun"].actions


def test_tokens_can_be_read_without_frames(folder, tokens):
    whole = clips(folder, tokens, stride=2)
    del whole["video"]
    np.testing.assert_equal(clips(folder, tokens, stride=2, video=False), whole)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"num_codes": 1}, r"has the token \d+; expected tokens from 0 to 0.$"),
        ({"num_patches": 5}, "has 4 tokens per frame; expected 5.$"),
    ],
)
def test_tokens_unknown_to_model_are_rejected(folder, tokens, expected, message):
    with pytest.raises(DataError, match=message):
        clips(folder, tokens, **expected)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "features.json",
            '"4"',
            '"5"',
            "a step cannot be decoded .its size is not 10",
        ),
        ("features.json", "uint16", "float16", "expected a Tensor of uint16"),
        (
            "metadata.json",
            'length": null',
            'length": "x"',
            "have the clip length 'x'; expected 1 or more",
        ),
    ],
)
def test_damaged_descriptions_are_rejected(
    folder, tokens, tmp_path, file, old, new, message
):
    copy = shutil.copytree(tokens, tmp_path / "copy")
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        clips(folder, copy)


def test_splits_with_and_without_actions_are_rejected(tokenize, folder):
    frames = np.zeros((4, 64, 64, 3), "uint8")
    actions = np.zeros(4, int)
    splits = {"train": [(frames, actions)], "test": [(frames, None)]}
    write_arrays(folder / "some_actions", splits)
    ended = tokenize({"dataset": "some_actions", "output": "some"})
    assert ended.code == 2
    assert ended.errors[-1].endswith(
        "Only some splits of 'some_actions' have actions (train); expected actions in "
        "all splits or none."
    )


def test_tfds_reads_all_steps(tokens, data_dir):
    actual = tfds.builder_from_directory(tokens)
    expected = tfds.builder("coinrun/tiny", data_dir=data_dir)
    for split in expected.info.splits:
        episodes = zip(actual.as_dataset(split=split), expected.as_dataset(split=split))
        for ours, theirs in episodes:
            ours, theirs = (
                next(episode["steps"].batch(99).as_numpy_iterator())
                for episode in (ours, theirs)
            )
            assert ours.pop("tokens").shape == (len(theirs["action"]), 4)
            np.testing.assert_equal(ours, {name: theirs[name] for name in ours})


def test_training_from_tokens_equals_training_from_frames(
    run_app, folder, tokens, data_dir
):
    curves = []
    for dataset in ("coinrun/tiny", "tokens"):
        flags = {**TRAINING, "config.dataset": dataset, "data_dir": data_dir}
        flags["workdir"] = f"genie_{len(curves)}"
        ended = run_app(
            "train", *(f"--{k}={v}" for k, v in flags.items()), folder=folder
        )
        assert ended.code == 0, ended.errors
        lines = map(json.loads, (folder / flags["workdir"] / "metrics.jsonl").open())
        curves.append([{**line, "steps_per_second": 0} for line in lines])
    assert curves[0] == curves[1]


def test_tokens_of_several_frames_are_stored_as_clips(tokenize, folder):
    ended = tokenize({"preset": "many", "output": "clips", "clip_length": 6})
    assert ended.code == 0, ended.errors
    batch = clips(folder, folder / "clips", "many", clip_length=6)
    tokenizer = VideoTokenizer.from_preset(folder / "many")
    np.testing.assert_array_equal(batch["tokens"], tokenizer.tokenize(batch["video"]))
    with pytest.raises(ValueError) as error:
        clips(folder, folder / "clips", "many", clip_length=5)
    assert str(error.value) == (
        f"The tokens of '{folder / 'clips'}' belong to clips of 6 frames with stride 1; "
        "requested clips of 5 frames with stride 1."
    )
    # 20 frames hold three clips.
    assert tfds.builder_from_directory(folder / "clips").info.splits[
        "validation"
    ].num_examples == (20 // 6)


def test_arrays_without_actions_can_be_tokenized(tokenize, folder):
    frames = np.random.default_rng(0).integers(256, size=(9, 128, 96, 3), dtype="uint8")
    write_arrays(folder / "arrays", {"train": [(frames, None)]})
    ended = tokenize({"dataset": "arrays", "output": "of_arrays", "resize": True})
    assert ended.code == 0, ended.errors
    batch = clips(folder, folder / "of_arrays")
    assert set(batch) == {"video", "tokens"}
    assert batch["video"].shape == (3, 5, 64, 64, 3)


def test_tokens_of_other_tokenizer_are_rejected(run_app, folder, tokens):
    flags = {
        **TRAINING,
        "config.tokenizer": "other",
        "config.dataset": "tokens",
        "workdir": "refused",
    }
    ended = run_app("train", *(f"--{k}={v}" for k, v in flags.items()), folder=folder)
    assert ended.code == 2
    assert ended.errors == [
        "train.py: The tokens of dataset 'tokens' come from another tokenizer: pass that "
        "tokenizer, or run genie-tokenize again."
    ]
    assert not (folder / "refused").exists()


def test_stopped_run_resumes(folder, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "_STEPS_PER_SHARD", 20)
    monkeypatch.setattr(token_cache.TokenCache, "_num_workers", lambda self: 1)
    calls = []

    def tokenize(video, limit):
        if len(calls) == limit:
            raise KeyboardInterrupt
        calls.append(len(video))
        return video[..., 0, 0, :2].astype(int)

    def write(name, limit=None):
        token_cache.write_token_cache(
            *(tmp_path / name, "coinrun/tiny", lambda video: tokenize(video, limit)),
            tokenizer="any",
            frame_shape=(64, 64, 3),
            num_patches=2,
            data_dir=data_dir,
        )
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    with pytest.raises(KeyboardInterrupt):
        write("tokens", limit=3)
    assert not (tmp_path / "tokens").exists()
    actual = write("tokens")
    stopped, calls = len(calls), []
    assert actual == write("again")
    assert stopped == len(calls)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preset": "none"}, "There is no preset none: .*"),
        ({"dataset": "coinrn/tiny"}, "There is no dataset 'coinrn/tiny': .*"),
        (
            {"preset": "many"},
            "This tokenizer's tokens depend on earlier frames: pass the "
            "config.clip_length of later training as --clip_length.",
        ),
        (
            {"clip_length": 5},
            "This tokenizer encodes each frame separately: omit --clip_length.",
        ),
        (
            {"preset": "many", "clip_length": 21},
            "No episode of 'coinrun/tiny', split 'train', has 21 frames.",
        ),
        ({"output": "tokens"}, "tokens exists already: choose another folder."),
        (
            {"output": "one/config.json"},
            "cannot write to the folder one/config.json: .*",
        ),
        (
            {"dataset": "small"},
            "The tokenizer expects frames of (64, 64, 3); small has frames of (16, 16, 3): "
            "pass --resize to scale them.",
        ),
    ],
)
def test_invalid_input_is_rejected_in_one_sentence(
    tokenize, folder, tokens, changes, sentence
):
    if not (folder / "small").exists():
        frames = np.zeros((4, 16, 16, 3), "uint8")
        write_arrays(folder / "small", {"train": [(frames, None)]})
    before = set(folder.rglob("*"))
    ended = tokenize({"output": "new", **changes})
    assert ended.code == 2
    (line,) = ended.errors
    sentence = sentence.replace("(", r"\(").replace(")", r"\)")
    assert re.fullmatch(f"tokenize_dataset.py: {sentence}", line), line
    assert set(folder.rglob("*")) == before


def test_missing_module_is_reported(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(cli.UserError) as error:
        cli.check_installed("av", "reading videos needs PyAV", "[video]")
    assert str(error.value) == "reading videos needs PyAV: pip install genie_tf[video]"


def test_full_disk_leaves_no_partial_files(tokenize, folder):
    ended = tokenize({"output": "large"}, largest_file=20_000)
    assert ended.code == 2, ended.errors
    assert re.search(
        "Shard token_cache-.* could not be written: .*; rerun the same command to "
        "resume.$",
        ended.errors[-1],
    ), ended.errors
    assert not (folder / "large").exists()
    assert tokenize({"output": "large"}).code == 0
