"""Presets come back equal, never half or damaged, and run nothing."""

import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from genie_tf import list_presets, preset_folder, presets
from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
    WorldModel,
)
from genie_tf.presets.folder import read_actions, read_config
from genie_tf.presets.loading import load_preset
from genie_tf.presets.saving import save_preset
from genie_tf.testing.tiny_models import (
    TRANSFORMER,
    tiny_batch,
    tiny_genie,
    tiny_tokenizer,
)

PARTS = {
    "tokenizer": VideoTokenizer,
    "latent_action_model": LatentActionModel,
    "dynamics": MaskGitDynamics,
}
ABOUT = {
    "dataset": "coinrun/random_hard",
    "command": "genie-train --config=genie.py:fast --workdir=runs/genie",
    "scores": {"psnr": 21.34567, "dynamics/top1": 0.5},
    "settings": {"steps": 3500, "mask_rates": [0.5, 1.0]},
    "action_names": ["left", "right", "jump", "stay", "fall"],
    "keys": {"ArrowLeft": 0, " ": 2},
}


@pytest.fixture(scope="module")
def genie():
    """A Genie no variable of which has its initial value."""
    genie = tiny_genie()
    rng = np.random.default_rng(0)
    for variable in genie.weights:
        change = 0.1 * rng.normal(size=variable.shape)
        is_float = variable.dtype == "float32"
        variable.assign(variable + (change.astype("float32") if is_float else 1))
    return genie


@pytest.fixture(scope="module")
def saved(genie, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "preset"
    save_preset(genie, folder, "A card.")
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A preset of the Genie, to be changed."""
    return shutil.copytree(saved, tmp_path / "preset")


def outputs(genie):
    batch = tiny_batch(0)
    return genie.outputs_of(batch)


def assert_equal_weights(found, expected):
    for mine, theirs in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)


def change_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def edit(folder, change):
    """Changes the tokenizer's settings in a preset's config.json."""
    change_config(folder, lambda config: change(config["parts"]["tokenizer"]))


def error_of(function, *arguments, **settings):
    """The one sentence of the ValueError that a call ends with."""
    with pytest.raises(ValueError) as error:
        function(*arguments, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_genie_comes_back(folder, genie):
    loaded = load_preset(folder)
    assert_equal_weights(loaded, genie)
    expected, found = outputs(genie), outputs(loaded)
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])
    np.testing.assert_array_equal(
        found["latent_action_model"]["prediction"],
        expected["latent_action_model"]["prediction"],
    )


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back(genie, tmp_path, name):
    part = getattr(genie, name)
    part.save_to_preset(tmp_path / "part", "A part.")
    for loaded in (
        PARTS[name].from_preset(tmp_path / "part"),
        load_preset(str(tmp_path / "part")),
    ):
        assert type(loaded) is PARTS[name]
        assert_equal_weights(loaded, part)
    assert sorted(os.listdir(tmp_path / "part")) == [
        "README.md",
        "config.json",
        f"{name}.weights.h5",
    ]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_genie_is_loaded_alone(folder, genie, name):
    for other in PARTS.keys() - {name}:
        (folder / f"{other}.weights.h5").unlink()
    assert_equal_weights(PARTS[name].from_preset(folder), getattr(genie, name))


def test_a_preset_is_settings_weights_and_a_card(folder):
    weights = {f"{name}.weights.h5" for name in PARTS}
    assert set(os.listdir(folder)) == {"README.md", "config.json", *weights}
    assert (folder / "README.md").read_text() == "# Genie\n\nA card.\n"
    config = json.loads((folder / "config.json").read_text())
    assert set(config) == {"description", "parts", "sha256"}
    assert config["description"] == "A card."
    for name in weights:
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89HDF\r\n")
        assert config["sha256"][name] == hashlib.sha256(content).hexdigest()
    assert set(config["sha256"]) == weights
    parts = config["parts"]
    defaults = {"head_dim": 8, "mlp_dim": 64, "qk_norm": False, "attention": "st"}
    blocks = {**TRANSFORMER, **defaults}
    assert parts["tokenizer"] == {
        "frame_shape": [16, 16, 3],
        "patch_size": 8,
        "num_codes": 24,
        "code_dim": 8,
        "encoder": blocks,
        "decoder": blocks,
        "quantizer": {},
    }
    assert list(parts) == list(PARTS)


def test_a_preset_knows_how_it_came_to_be(genie, tmp_path):
    genie.save_to_preset(tmp_path / "preset", "Small, of CoinRun.", **ABOUT)
    config = read_config(tmp_path / "preset")
    assert config.keys() == {"description", *ABOUT, "parts", "sha256"}
    assert {name: config[name] for name in ABOUT} == ABOUT
    assert (
        (tmp_path / "preset/README.md").read_text()
        == """\
# Genie

Small, of CoinRun.

Trained on coinrun/random_hard.

```
genie-train --config=genie.py:fast --workdir=runs/genie
```

| metric | value |
|---|---|
| psnr | 21.35 |
| dynamics/top1 | 0.5 |

Actions: 0 left, 1 right, 2 jump, 3 stay, 4 fall.

Keys: `ArrowLeft` 0, ` ` 2.

Settings of the training:

```json
{
 "steps": 3500,
 "mask_rates": [
  0.5,
  1.0
 ]
}
```
"""
    )
    named = ABOUT["action_names"], ABOUT["keys"]
    assert read_actions(tmp_path / "preset", genie.num_actions) == named


def test_actions_without_names(folder):
    assert read_actions(folder, 5) == ([], {})


@pytest.mark.parametrize(
    "names", [["left"], "abcde", {"left": 0}, 5, ["left", "right", "jump", "stay", 4]]
)
def test_action_names_of_other_actions(genie, folder, tmp_path, names):
    sentence = (
        f"`action_names` must be 5 texts, one for each action; received {names!r}."
    )
    arguments = (tmp_path / "other", "A card.")
    assert error_of(genie.save_to_preset, *arguments, action_names=names) == sentence
    assert os.listdir(tmp_path) == ["preset"]
    change_config(folder, lambda config: config.update(action_names=names))
    assert error_of(read_actions, folder, 5) == sentence


@pytest.mark.parametrize("keys", [{"a": 5}, {"a": -1}, {"a": "left"}, ["a"], 3])
def test_keys_of_other_actions(genie, folder, tmp_path, keys):
    sentence = (
        "`keys` must give each key one of the 5 actions, by its number from 0 on; "
        f"received {keys}."
    )
    arguments = (tmp_path / "other", "A card.")
    assert error_of(genie.save_to_preset, *arguments, keys=keys) == sentence
    change_config(folder, lambda config: config.update(keys=keys))
    assert error_of(read_actions, folder, 5) == sentence


@pytest.fixture
def shipped(genie, tmp_path, monkeypatch):
    """The folder of presets that ship with genie_tf: two, and what is none."""
    monkeypatch.setattr(preset_folder, "_SHIPPED", tmp_path / "shipped")
    genie.save_to_preset(tmp_path / "shipped/genie_small", "A small Genie.")
    genie.tokenizer.save_to_preset(tmp_path / "shipped/eyes", "Its tokenizer.")
    (tmp_path / "shipped/notes").mkdir()
    return tmp_path / "shipped"


def test_presets_that_ship_have_names(shipped, genie, tmp_path, monkeypatch):
    assert list_presets() == {
        "eyes": "Its tokenizer.",
        "genie_small": "A small Genie.",
    }
    assert_equal_weights(Genie.from_preset("genie_small"), genie)
    assert_equal_weights(VideoTokenizer.from_preset("eyes"), genie.tokenizer)
    # A folder of that name is one only if it looks like one.
    monkeypatch.chdir(tmp_path)
    genie.dynamics.save_to_preset("eyes", "Another one.")
    assert type(load_preset("eyes")) is VideoTokenizer
    assert (
        type(load_preset("./eyes"))
        is type(load_preset(Path("eyes")))
        is MaskGitDynamics
    )


@pytest.mark.parametrize("name", ["nose", "notes", "shipped/nose", "../shipped/eyes"])
def test_an_unknown_name_is_answered_with_the_known_ones(shipped, name):
    assert error_of(Genie.from_preset, name) == (
        f"There is no preset {name}: expected a folder, or the name of one that ships "
        "with genie_tf (eyes, genie_small)."
    )


def test_no_preset_may_ship(tmp_path, monkeypatch):
    monkeypatch.setattr(preset_folder, "_SHIPPED", tmp_path / "shipped")
    assert list_presets() == {}
    assert error_of(load_preset, tmp_path / "none") == (
        f"There is no preset {tmp_path}/none: expected a folder, or the name of one that "
        "ships with genie_tf (none so far)."
    )


def test_what_ships_can_be_loaded():
    for name, description in list_presets().items():
        assert description and "\n" not in description
        model = load_preset(name)
        if isinstance(model, WorldModel):
            read_actions(name, model.num_actions)


def test_presets_are_listed_without_loading_keras():
    program = (
        "import sys, genie_tf; genie_tf.list_presets(); "
        "sys.exit('keras' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_guided_genie_comes_back_and_other_quantizers(genie, tmp_path):
    tokenizer = tiny_tokenizer(
        code_dim=2, quantizer={"class_name": "FiniteScalarQuantizer", "levels": (6, 4)}
    )
    guided = GuidedGenie(tokenizer, genie.dynamics)
    save_preset(guided, tmp_path / "preset", "A card.")
    loaded = load_preset(tmp_path / "preset")
    assert type(loaded) is GuidedGenie
    assert_equal_weights(loaded, guided)
    assert loaded.tokenizer.quantizer.levels == (6, 4)


class SmallGenie(Genie):
    """Which no preset holds."""


def test_a_preset_of_another_kind(genie, folder, tmp_path):
    guided = GuidedGenie(genie.tokenizer, genie.dynamics)
    guided.save_to_preset(tmp_path / "guided", "A card.")
    genie.tokenizer.save_to_preset(tmp_path / "part", "A card.")
    for asked, held, expected, found in (
        (Genie, "guided", "Genie", "GuidedGenie"),
        (GuidedGenie, "preset", "GuidedGenie", "Genie"),
        (LatentActionModel, "guided", "LatentActionModel", "GuidedGenie"),
        (MaskGitDynamics, "part", "MaskGitDynamics", "VideoTokenizer"),
        (Genie, "part", "Genie", "VideoTokenizer"),
        (WorldModel, "part", "Genie or GuidedGenie", "VideoTokenizer"),
        (SmallGenie, "preset", "SmallGenie", "Genie"),
    ):
        assert error_of(asked.from_preset, tmp_path / held) == (
            f"Expected {tmp_path}/{held} to hold a {expected}; it holds a {found}."
        )
    assert type(WorldModel.from_preset(folder)) is Genie
    assert type(WorldModel.from_preset(tmp_path / "guided")) is GuidedGenie


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({}, "none"),
        (
            {"tokenizer": {}, "latent_action_model": {}},
            "tokenizer, latent_action_model",
        ),
        ({"../tokenizer": {}}, "../tokenizer"),
    ],
)
def test_parts_that_make_no_model(folder, parts, named):
    change_config(folder, lambda config: config.update(parts=parts))
    assert error_of(load_preset, folder) == (
        f"Expected {folder}/config.json to have one of the parts tokenizer, "
        f"latent_action_model, dynamics, or those of a Genie; received {named}."
    )


def test_another_attention_comes_back(tmp_path):
    tokenizer = tiny_tokenizer(
        encoder={**TRANSFORMER, "attention": "space"},
        decoder={**TRANSFORMER, "attention": "space_time"},
    )
    save_preset(tokenizer, tmp_path / "part", "A card.")
    loaded = VideoTokenizer.from_preset(tmp_path / "part")
    assert loaded.encoder.arguments() == tokenizer.encoder.arguments()
    assert loaded.decoder.arguments() == tokenizer.decoder.arguments()
    assert_equal_weights(loaded, tokenizer)


def test_attention_need_not_be_said(folder, genie):
    edit(
        folder, lambda x: [x[part].pop("attention") for part in ("encoder", "decoder")]
    )
    assert_equal_weights(VideoTokenizer.from_preset(folder), genie.tokenizer)


def test_a_failure_while_writing_leaves_the_old_preset(folder, genie, monkeypatch):
    def fail(path):
        path.write_bytes(b"half of i")
        raise OSError("No space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(genie.dynamics, "save_weights", fail)
        with pytest.raises(OSError, match="No space left"):
            save_preset(genie, folder, "Another card.")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    save_preset(genie.tokenizer, folder, "Another card.")
    assert read_config(folder)["description"] == "Another card."
    assert_equal_weights(VideoTokenizer.from_preset(folder), genie.tokenizer)
    assert os.listdir(folder.parent) == ["preset"]


def test_only_presets_are_replaced(genie, tmp_path):
    (tmp_path / "work/checkpoints").mkdir(parents=True)
    (tmp_path / "work/config.json").write_text('{"steps": 3}')
    (tmp_path / "file").write_text("of mine")
    for name in ("work", "file"):
        assert error_of(genie.save_to_preset, tmp_path / name, "A card.") == (
            f"{tmp_path}/{name} exists and is not a preset, so it is not replaced: choose "
            "another folder."
        )
    assert sorted(os.listdir(tmp_path)) == ["file", "work"]
    assert (tmp_path / "work/checkpoints").is_dir()


def test_only_genie_and_its_parts_are_presets(tmp_path):
    with pytest.raises(ValueError, match="made of a Genie or one of its parts; .*Seq"):
        save_preset(keras.Sequential(), tmp_path / "preset", "A card.")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        '{"parts": 3}',
        '{"part": {}}',
        "[" * 10**6,
        '{"parts": {}, "parts": {}}',
        '{"parts": {}, "description": "\\ud800"}',
        '{"parts": {}, "n": %s}' % ("9" * 5000),
        '{"parts": {}, "description": "%s"}' % ("long" * 10**6),
        "\0",
    ],
    ids=lambda text: str(text)[:12],
)
def test_what_is_no_preset(folder, text):
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    with pytest.raises(ValueError) as error:
        load_preset(folder)
    assert str(error.value) == (
        f"{folder} is not the folder of a trained model: expected a readable "
        f"{folder}/config.json."
    )


@pytest.mark.parametrize("damage", ["a bit", "swapped"])
def test_damaged_weights(folder, damage):
    path = folder / "tokenizer.weights.h5"
    whole = path.read_bytes()
    changed = {
        "a bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "swapped": (folder / "dynamics.weights.h5").read_bytes(),
    }[damage]
    path.write_bytes(changed)
    before, after = (hashlib.sha256(x).hexdigest() for x in (whole, changed))
    for load in (load_preset, VideoTokenizer.from_preset):
        assert error_of(load, folder) == (
            f"{path} is damaged or swapped: expected the sha256 {before}, as config.json "
            f"says; received {after}."
        )


def unlink(path):
    path.unlink()


def make_fifo(path):
    path.unlink()
    os.mkfifo(path)


def make_socket(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # Long names are refused.


def make_folder(path):
    path.unlink()
    path.mkdir()


def link_to_fifo(path):
    os.mkfifo(path.with_name("fifo"))
    path.unlink()
    path.symlink_to("fifo")


def link_to_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nothing")


NOT_REGULAR = [
    unlink,
    make_fifo,
    make_socket,
    make_folder,
    link_to_fifo,
    link_to_device,
    link_to_nothing,
]


@pytest.mark.parametrize("replace", NOT_REGULAR)
def test_weights_that_are_not_a_regular_file(folder, replace):
    path = folder / "dynamics.weights.h5"
    replace(path)
    assert error_of(load_preset, folder) == (
        f"{path} is missing, cannot be read, or is not a regular file."
    )


@pytest.mark.parametrize("replace", NOT_REGULAR)
def test_a_config_that_is_not_a_regular_file(folder, genie, replace):
    replace(folder / "config.json")
    for function in (load_preset, read_config):
        assert "is not the folder of a trained model" in error_of(function, folder)
    assert "is not a preset" in error_of(save_preset, genie, folder, "A card.")


def test_a_link_to_weights_is_followed(folder, genie):
    path = folder / "dynamics.weights.h5"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    assert_equal_weights(load_preset(folder), genie)


@pytest.mark.parametrize("sha256", [None, {}])
def test_missing_checksums(folder, genie, sha256):
    def change(config):
        config["sha256"] = sha256
        if sha256 is None:
            del config["sha256"]

    change_config(folder, change)
    assert error_of(load_preset, folder) == (
        f"{folder}/config.json lacks the sha256 of tokenizer.weights.h5: give the same "
        "genie-train command again, which writes the model anew."
    )
    genie.save_to_preset(folder, "A card.")
    assert_equal_weights(load_preset(folder), genie)


@pytest.mark.parametrize("size", [0, 1000, 10**7, 2**40])
def test_weights_of_another_size(folder, size):
    """Nothing is read of them: the last would take an hour."""
    path = folder / "tokenizer.weights.h5"
    os.truncate(path, size)
    error = error_of(load_preset, folder)
    assert error.startswith(
        f"Expected {path} to hold the weights that its config.json describes: they would "
        "take 31,"
    )
    assert error.endswith(f" bytes; it has {size:,}.")


def sign(folder, name="tokenizer"):
    """Makes a preset's config.json agree with weights that have been changed."""
    path = folder / f"{name}.weights.h5"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    change_config(folder, lambda config: config["sha256"].update({path.name: found}))


def error_of_weights(folder):
    """The reason why a tokenizer's weights, which were written so, are refused."""
    sign(folder)
    expected = (
        f"Expected {folder}/tokenizer.weights.h5 to hold the weights that its "
        "config.json describes: "
    )
    error = error_of(load_preset, folder)
    assert error.startswith(expected) and error.endswith(".")
    return error[len(expected) : -1]


def test_weights_that_are_not_hdf5(folder):
    path = folder / "tokenizer.weights.h5"
    path.write_bytes(bytes(path.stat().st_size))
    assert error_of_weights(folder) == "it is not a readable HDF5 file"


def test_weights_of_another_model(folder):
    content = (folder / "dynamics.weights.h5").read_bytes()
    (folder / "tokenizer.weights.h5").write_bytes(content)
    assert error_of_weights(folder) == "it has arrays of other shapes"


def test_weights_under_other_names(folder):
    """Only Keras knows which array belongs where."""
    with h5py.File(folder / "tokenizer.weights.h5", "a") as file:
        file.move("decoder", "decoded")
    assert error_of_weights(folder) == "they are of another model"


ARRAY = "decoder/norm/vars/0"  # (16,)


def replace_array(**how):
    """Puts another array in the place of one of a tokenizer's."""

    def change(file):
        del file[ARRAY]
        file.create_dataset(ARRAY, **how)

    return change


def virtual(file):
    layout = h5py.VirtualLayout((16,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", (16,))
    del file[ARRAY]
    file.create_virtual_dataset(ARRAY, layout)


def link(target):
    def change(file):
        del file[ARRAY]
        file[ARRAY] = target

    return change


def endless(file):
    file["decoder/again"] = file["decoder"]


def many(file):
    for number in range(2000):
        file[str(number)] = file["decoder"]


def named_type(file):
    file["type"] = np.dtype("f4")


NOT_PLAIN = f"its array /{ARRAY} is not stored as plain numbers"
OTHER_SHAPES = "it has arrays of other shapes"
TOO_MANY = "it has too many groups or arrays"
BOMBS = {
    "compressed": (
        replace_array(shape=(2**40,), dtype="f4", chunks=(2**20,), compression="gzip"),
        NOT_PLAIN,
    ),
    "chunked": (replace_array(shape=(16,), dtype="f4", chunks=(4,)), NOT_PLAIN),
    "never written": (replace_array(shape=(16,), dtype="f4"), NOT_PLAIN),
    "large and never written": (replace_array(shape=(2**40,), dtype="f4"), NOT_PLAIN),
    "in another file": (
        replace_array(shape=(16,), dtype="f4", external=[("/etc/passwd", 0, 64)]),
        NOT_PLAIN,
    ),
    "virtual": (virtual, NOT_PLAIN),
    "texts": (replace_array(data=["a"] * 16, dtype=h5py.string_dtype()), NOT_PLAIN),
    "lists": (
        replace_array(shape=(16,), dtype=h5py.vlen_dtype("f4")),
        NOT_PLAIN,
    ),
    "references": (
        replace_array(shape=(16,), dtype=h5py.ref_dtype, fillvalue=None),
        NOT_PLAIN,
    ),
    "records": (
        replace_array(data=np.zeros(16, [("a", "f4"), ("b", "f8")])),
        NOT_PLAIN,
    ),
    "complex": (replace_array(data=np.zeros(16, "c8")), NOT_PLAIN),
    "empty": (replace_array(data=h5py.Empty("f4")), NOT_PLAIN),
    "integers": (replace_array(data=np.zeros(16, "int32")), OTHER_SHAPES),
    "wider": (replace_array(data=np.zeros(17, "f4")), OTHER_SHAPES),
    "one more": (lambda file: file.update(more=np.zeros(3, "f4")), OTHER_SHAPES),
    "external link": (
        link(h5py.ExternalLink("other.h5", "/data")),
        "it has a link, 0",
    ),
    "soft link": (link(h5py.SoftLink("/decoder/norm/vars/1")), "it has a link, 0"),
    "a type": (named_type, "it has a type, type"),
    "endless": (endless, TOO_MANY),
    "many": (many, TOO_MANY),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_hdf5_that_is_not_weights(folder, bomb):
    change, reason = BOMBS[bomb]
    with h5py.File(folder / "tokenizer.weights.h5", "a") as file:
        change(file)
    assert error_of_weights(folder) == reason


@keras.saving.register_keras_serializable("presets_test")
class Trap(keras.Layer):
    """Notes that a config made Keras make it."""

    sprung = False

    def __init__(self, **kwargs):
        Trap.sprung = True
        super().__init__()


TRAP = {
    "module": None,
    "class_name": "Trap",
    "config": {},
    "registered_name": "presets_test>Trap",
}


def test_the_trap_works():
    keras.saving.deserialize_keras_object(TRAP)
    assert Trap.sprung


@pytest.mark.parametrize(
    "settings",
    [
        {"activity_regularizer": TRAP},
        {"encoder": {**TRANSFORMER, "activity_regularizer": TRAP}},
        {"encoder": {**TRANSFORMER, "dtype": TRAP}},
        {"encoder": TRAP},
        {"quantizer": {"activity_regularizer": TRAP}},
        {
            "quantizer": {
                "class_name": "FiniteScalarQuantizer",
                "levels": [6, 4],
                "activity_regularizer": TRAP,
            }
        },
        {"decoder": {**TRANSFORMER, "dim": TRAP}},
        {"patch_size": TRAP},
        {"num_codes": "many"},
        {"layers": [TRAP], "input_layers": [], "output_layers": []},
        {**TRAP, "encoder": None},
    ],
    ids=str,
)
def test_settings_are_arguments_and_run_nothing(folder, settings):
    edit(folder, lambda tokenizer: tokenizer.update(settings))
    Trap.sprung = False
    with pytest.raises(ValueError) as error:
        VideoTokenizer.from_preset(folder)
    assert str(error.value).startswith(
        f"Expected {folder}/config.json to hold the arguments of a VideoTokenizer as "
        "tokenizer: "
    )
    assert "\n" not in str(error.value)
    assert not Trap.sprung


def test_a_precision_that_is_an_object_is_not_made(folder):
    edit(folder, lambda tokenizer: tokenizer.update(dtype=TRAP))
    Trap.sprung = False
    with pytest.raises(ValueError, match="to hold the arguments of a VideoTokenizer"):
        VideoTokenizer.from_preset(folder)
    assert not Trap.sprung


@pytest.mark.parametrize("settings", [[], "tokenizer", None, {}])
def test_settings_of_another_form(folder, settings):
    change_config(folder, lambda config: config["parts"].update(tokenizer=settings))
    with pytest.raises(ValueError, match="to hold the arguments of a VideoTokenizer"):
        VideoTokenizer.from_preset(folder)


NOT_SIZES = [
    -1,
    0,
    1.5,
    16.0,
    True,
    "16",
    None,
    [],
    {},
    float("nan"),
    1e300,
    2**31,
    10**4000,
]


@pytest.mark.parametrize(
    "place",
    [
        ("patch_size",),
        ("num_codes",),
        ("code_dim",),
        ("frame_shape", 0),
        ("encoder", "dim"),
        ("encoder", "num_heads"),
        ("encoder", "num_blocks"),
        ("decoder", "window"),
    ],
    ids=str,
)
def test_sizes_that_are_none(folder, place):
    for value in NOT_SIZES:
        if place[-1] == "num_blocks" and value == 0:
            continue  # No block is one way.

        def change(settings, value=value):
            for key in place[:-1]:
                settings = settings[key]
            settings[place[-1]] = value

        edit(folder, change)
        error = error_of(VideoTokenizer.from_preset, folder)
        assert "to hold the arguments of a VideoTokenizer as tokenizer: " in error
        assert "must be a whole number" in error and len(error) < 400


@pytest.mark.parametrize(
    "settings",
    [
        {"num_codes": 10**9},
        {"code_dim": 10**9},
        {"patch_size": 10**9},
        {"frame_shape": [10**9, 10**9, 3]},
        {"encoder": {**TRANSFORMER, "dim": 10**8}},
        {"encoder": {**TRANSFORMER, "mlp_dim": 10**9}},
        {"encoder": {**TRANSFORMER, "head_dim": 10**9}},
        {"encoder": {**TRANSFORMER, "num_heads": 10**9, "head_dim": 2}},
        {"encoder": {**TRANSFORMER, "num_blocks": 10**6}},
        {"encoder": {**TRANSFORMER, "num_blocks": 2**31 - 1}},
        {"quantizer": {"soft_updates": 1}, "code_dim": 10**6},
    ],
    ids=str,
)
def test_a_model_larger_than_its_weights_is_not_built(folder, settings, monkeypatch):
    edit(folder, lambda tokenizer: tokenizer.update(settings))
    monkeypatch.setattr(presets, "_sha256", None)
    error = error_of(VideoTokenizer.from_preset, folder)
    assert (
        "to hold the weights that its config.json describes: they would take" in error
    )


def test_weights_larger_than_the_memory(folder, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if "SIZE" in name else 4)
    assert error_of(load_preset, folder) == (
        f"The weights in {folder}/tokenizer.weights.h5 need 0 GiB of memory; this "
        "machine has 0."
    )


def test_a_world_that_remembers_more_than_the_memory_holds(folder):
    def change(config):
        config["parts"]["dynamics"]["transformer"]["window"] = 2**31 - 1

    change_config(folder, change)
    error = error_of(load_preset, folder)
    assert error.startswith(
        f"The last 2147483647 frames of a video that {folder} remembers need 1,024 GiB "
        "of memory; this machine has "
    )
    assert isinstance(MaskGitDynamics.from_preset(folder), MaskGitDynamics)


@pytest.mark.parametrize(
    "settings",
    [
        {"levels": 5},
        {"levels": "64"},
        {"levels": [6, 4.0]},
        {"levels": [2**30, 2**30]},
        {"idle_limit": -1},
        {"soft_updates": 0.5},
        {"ema": "much"},
        {"ema": float("inf")},
        {"commitment_weight": float("nan")},
        {"num_codes": 24},
        {"unknown": 1},
        ["levels"],
        3,
    ],
    ids=str,
)
def test_quantizers_that_are_none(folder, settings):
    edit(folder, lambda x: x.update(quantizer=settings, code_dim=2))
    error = error_of(VideoTokenizer.from_preset, folder)
    assert "to hold the arguments of a VideoTokenizer as tokenizer: " in error


def test_parts_of_several_models(folder, genie, tmp_path):
    other = tiny_tokenizer(num_codes=12)
    other.save_to_preset(tmp_path / "other", "A card.")
    theirs = read_config(tmp_path / "other")
    name = "tokenizer.weights.h5"
    (tmp_path / "other" / name).replace(folder / name)

    def change(config):
        config["parts"]["tokenizer"] = theirs["parts"]["tokenizer"]
        config["sha256"][name] = theirs["sha256"][name]

    change_config(folder, change)
    assert error_of(load_preset, folder) == (
        f"{folder} holds parts of several models: The parts of a Genie must agree on "
        "`num_codes`; received 12 and 24."
    )


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("description", ["A card."], "a text"),
        ("description", None, "a text"),
        ("dataset", 3, "a text"),
        ("command", {}, "a text"),
        ("sha256", "a" * 64, "an object"),
        ("sha256", [], "an object"),
        ("scores", [1.0], "an object"),
        ("settings", "steps", "an object"),
    ],
)
def test_what_a_config_says_is_of_another_type(folder, name, value, word):
    change_config(folder, lambda config: config.update({name: value}))
    for function in (load_preset, read_config):
        assert error_of(function, folder).startswith(
            f"Expected `{name}` in {folder}/config.json to be {word}; received "
        )


@pytest.mark.parametrize(
    "about",
    [
        {"dataset": b"bytes"},
        {"settings": {"a": {1, 2}}},
        {"settings": {"a": "\ud800"}},
        {"scores": {"psnr": "high"}},
        {"scores": [1.0]},
    ],
    ids=str,
)
def test_what_a_preset_cannot_say(genie, tmp_path, about):
    error = error_of(genie.save_to_preset, tmp_path / "preset", "A card.", **about)
    assert error.startswith("A preset's description, dataset and command must be texts")
    assert os.listdir(tmp_path) == []


def test_folders_in_the_home_folder(genie, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    genie.tokenizer.save_to_preset("~/models/eyes", "A card.")
    assert os.listdir(tmp_path) == ["models"]
    assert_equal_weights(load_preset("~/models/eyes"), genie.tokenizer)


def test_folders_elsewhere(genie, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function in (load_preset, read_config, genie.save_to_preset):
        arguments = ["A card."] if function == genie.save_to_preset else []
        error = error_of(function, "gs://bucket/model", *arguments)
        assert error.startswith("Expected a path on this machine; received 'gs://")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "config.json/x"])
def test_names_that_no_folder_has(folder, name):
    assert "There is no preset" in error_of(load_preset, folder / name)


def test_a_linked_folder_is_replaced_where_it_is(folder, genie, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    genie.tokenizer.save_to_preset(link, "Another card.")
    assert link.is_symlink()
    assert read_config(folder)["description"] == "Another card."
    assert sorted(os.listdir(tmp_path)) == ["link", "preset"]


def test_a_full_disk(folder, genie):
    """The system says it as well of a file that is larger than a limit."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            genie.save_to_preset(folder, "Another card.")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(folder.parent) == ["preset"]
    assert read_config(folder)["description"] == "A card."
