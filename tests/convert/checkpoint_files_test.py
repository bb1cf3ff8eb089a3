"""Checkpoints are read as arrays by name; whatever is not one is refused in a sentence."""

import pickle
import re
import sys

import numpy as np
import pytest

from genie_tf.convert import convert_genieredux, convert_jafar, read_checkpoint

ARRAYS = {"a/b": np.arange(6, dtype="float32").reshape(2, 3), "c": np.array([1.0])}


class RunsCode:
    """Object whose pickle would call a function."""

    def __reduce__(self):
        return sys.exit, ("code of a checkpoint ran",)


def check_arrays(arrays):
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_orbax_folder(tmp_path):
    orbax = pytest.importorskip("orbax.checkpoint")
    tree = {"a": {"b": ARRAYS["a/b"]}, "c": ARRAYS["c"]}
    orbax.PyTreeCheckpointer().save(tmp_path / "model", tree)
    check_arrays(read_checkpoint(tmp_path / "model"))


def test_pytorch_file(tmp_path):
    torch = pytest.importorskip("torch")
    tree = {
        "a": {"b": torch.tensor(ARRAYS["a/b"]).to(torch.bfloat16)},
        "c": torch.tensor(ARRAYS["c"]),
        "step": 3,
        "scaler": None,
    }
    torch.save(tree, tmp_path / "model.pt")
    check_arrays(read_checkpoint(tmp_path / "model.pt"))


def test_safetensors_file(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(ARRAYS, tmp_path / "model.safetensors")
    check_arrays(read_checkpoint(tmp_path / "model.safetensors"))


def test_flax_file(tmp_path):
    msgpack = pytest.importorskip("msgpack")

    def pack(array):
        content = (array.shape, array.dtype.name, array.tobytes())
        return msgpack.ExtType(1, msgpack.packb(content))

    tree = {"a": {"b": pack(ARRAYS["a/b"])}, "c": pack(ARRAYS["c"]), "step": 3}
    (tmp_path / "model").write_bytes(msgpack.packb(tree))
    check_arrays(read_checkpoint(tmp_path / "model"))


def test_file_that_runs_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    file = tmp_path / "model.pt"
    torch.save({"model": RunsCode()}, file)
    with pytest.raises(
        ValueError, match="would run code when it is read, so it is refused"
    ):
        read_checkpoint(file)
    file.write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(
        ValueError, match="is a pickle, which runs code when it is read"
    ):
        read_checkpoint(file)


@pytest.mark.parametrize("name", ["model.safetensors", "model.msgpack", "model.pt"])
def test_truncated_file_is_refused(name, tmp_path, fixtures):
    if name == "model.pt":
        torch = pytest.importorskip("torch")
        torch.save({"a": torch.zeros(1000)}, tmp_path / name)
        content = (tmp_path / name).read_bytes()
    elif name == "model.msgpack":
        pytest.importorskip("msgpack")
        content = (fixtures / "jafar" / "genie.msgpack").read_bytes()
    else:
        pytest.importorskip("safetensors")
        content = (fixtures / "genieredux" / "guided.safetensors").read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is not a complete checkpoint of"):
        read_checkpoint(tmp_path / name)


def test_folder_or_file_of_another_kind_is_refused(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    (tmp_path / "text").write_text("no checkpoint")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for name in ("text", "empty", "folder"):
        with pytest.raises(ValueError, match="is not a complete checkpoint of"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match="Expected a checkpoint at .*: No such file"):
        read_checkpoint(tmp_path / "missing")


def test_missing_library_is_named(tmp_path, monkeypatch):
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 and more")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ValueError, match="Reading PyTorch files needs torch: pip install torch"
    ):
        read_checkpoint(tmp_path / "model.pt")
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(
        ValueError, match=re.escape("orbax.checkpoint: pip install genie_tf[convert]")
    ):
        read_checkpoint(tmp_path)


def convert_changed(arrays, convert=convert_jafar, **changes):
    """Convert arrays with some replaced, or removed if None."""
    arrays = {**arrays, **changes.pop("replaced")}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    return convert(arrays, frame_shape=(8, 12, 3), **changes)


@pytest.mark.parametrize(
    "name, array, sentence",
    [
        (
            "params/dynamics/action_up/bias",
            None,
            "has no tensor 'params/dynamics/action_up/bias'",
        ),
        (
            "params/dynamics/more",
            np.zeros(3),
            "tensors that this model does not: params/dynamics/more",
        ),
        (
            "params/tokenizer/decoder/Dense_1/bias",
            np.zeros(3),
            r"Expected shape \(48,\) for .*'params/tokenizer/decoder/Dense_1/bias' gives \(3,\)",
        ),
        (
            "params/lam/vq/codebook",
            np.full((5, 8), np.nan),
            "'params/lam/vq/codebook' has NaN or infinity",
        ),
        (
            "params/lam/vq/codebook",
            np.zeros(5),
            r"'params/lam/vq/codebook' must have 2 axes; its shape is \(5,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(name, array, sentence, jafar_arrays):
    with pytest.raises(ValueError, match=sentence):
        convert_changed(jafar_arrays, replaced={name: array})


def test_checkpoint_of_another_implementation_is_refused(jafar_arrays, redux_arrays):
    with pytest.raises(
        ValueError, match="This is no checkpoint of Jafar: .* it has model/"
    ):
        convert_jafar(redux_arrays("guided"))
    with pytest.raises(
        ValueError, match="This is no checkpoint of GenieRedux: .*params/"
    ):
        convert_genieredux(jafar_arrays)


def test_genieredux_world_needs_its_own_tokenizer(redux_arrays):
    arrays = redux_arrays("guided")
    with pytest.raises(ValueError, match="a world without its tokenizer"):
        convert_genieredux(arrays, frame_shape=(8, 12, 3))
    tokenizer = convert_genieredux(redux_arrays("tokenizer"), frame_shape=(8, 12, 3))
    name = "model/dynamics/maskgit.token_emb.weight"
    with pytest.raises(ValueError, match="has 32 codes; its tokenizer has 32: choose"):
        convert_changed(
            arrays,
            convert_genieredux,
            replaced={name: arrays[name][1:]},
            tokenizer=tokenizer,
        )


def test_frames_that_patches_do_not_divide_are_refused(redux_arrays):
    with pytest.raises(
        ValueError, match="48 numbers, which do not divide frames of 9x12x3"
    ):
        convert_genieredux(redux_arrays("tokenizer"), frame_shape=(9, 12, 3))
