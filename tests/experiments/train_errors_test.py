"""Invalid input that genie-train rejects in one sentence, without changing files."""

import os

import pytest

from genie_tf.training.folder_lock import locked

TOKENIZER, GENIE = "train tokenizer", "train genie"


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
    (TOKENIZER, {"workdir": None}, "expected --workdir; see --help"),
    (TOKENIZER, {"workdir": "file/below"}, NO_FOLDER),
    (
        TOKENIZER,
        {"compile_for": "v7:2x2"},
        r"--compile_for must be a kind of TPU and the shape of a slice, such as v5e:4x8 or "
        r"v5p:4x4x4 \(v4, v5e, v5p, v6e\); is 'v7:2x2'.",
    ),
    (
        TOKENIZER,
        {"compile_for": "v5e:2x2"},
        "--compile_for needs JAX: set KERAS_BACKEND=jax.",
    ),
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
        {"config.schedule.peak": "inf"},
        "--config.schedule.peak must be a finite number; received inf",
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
        "The config lacks camera; `choose_size` in .* fills in defaults.",
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
        "=3, or quantization never starts; is 3.",
    ),
    (
        "train guided",
        {"config.action_model": "lam/model"},
        "Set config.num_true_actions or config.action_model, not both.",
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
    (TOKENIZER, {"config.dataset": "coinrun/tiny:0.5,coinrn/tiny:0.5"}, NO_DATASET),
    (
        TOKENIZER,
        {"config.dataset": "coinrun/tiny:1,coinrun/easy:-1"},
        "Expected weights above 0 in the mixture 'coinrun/tiny:1,coinrun/easy:-1'; "
        "'coinrun/easy' has the weight '-1'.",
    ),
    (
        TOKENIZER,
        {"config.clip_length": 21},
        "No episode of 'coinrun/tiny', split 'validation', is long enough: requested "
        "clips of 21 frames; the longest episode has 20.",
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
        r"the model expects frames of \(32, 32, 3\); coinrun/tiny has frames of "
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
    (TOKENIZER, {"config.start_from": "none"}, NO_PRESET),
    (
        TOKENIZER,
        {"config.start_from": "dynamics"},
        "A VideoTokenizer cannot start from dynamics, which holds a MaskGitDynamics.",
    ),
    (
        TOKENIZER,
        {"config.start_from": "part"},
        "The weights of part do not fit the config: tokenizer/.* is .* in the preset and .*",
    ),
    (
        TOKENIZER,
        {"config.frozen": "encode"},
        "config.frozen names 'encode', but a VideoTokenizer has no 'encode': it has .*",
    ),
    (
        GENIE,
        {"config.tokenizer": None},
        "Genie needs a trained tokenizer: pass its folder as "
        "--config.tokenizer=WORKDIR/model.",
    ),
    (GENIE, {"config.tokenizer": "none"}, NO_PRESET),
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
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"config.model.encoder.dim": 32},
            "The checkpoint tokenizer/checkpoints/step_00000003 is of a model with "
            "encoder.dim=16, where the config asks for 32: continue with .*",
        ),
        (
            {"config.steps": 2},
            "tokenizer has already been trained for 3 steps; config.steps asks for 2.",
        ),
        (
            {"config.steps": 4, "config.batch_size": 4, "config.seed": 1},
            "The 3 steps in tokenizer were trained with other settings: "
            "config.batch_size was 2, is 4; config.seed was 0, is 1. Use .* "
            "--allow_change, which is recorded.",
        ),
        (
            {"workdir": "tokenizer/model"},
            "tokenizer/model holds a trained model: choose another --workdir.",
        ),
    ],
)
def test_workdir_of_other_run_is_unchanged(trained, check_refused, changes, sentence):
    check_refused(TOKENIZER, changes, sentence, trained, "tokenizer")


def test_workdir_has_one_run_at_a_time(trained, check_refused):
    holder = rf"\(process {os.getpid()} of .*, since .*\)"
    sentence = (
        f"Another program is training in tokenizer {holder}: wait until it ends, .*"
    )
    with locked(trained / "tokenizer"):
        check_refused(TOKENIZER, {"config.steps": 4}, sentence, trained, "tokenizer")
