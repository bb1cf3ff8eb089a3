"""Mixtures: exact shares, the order of each dataset alone, and the errors."""

import itertools

import numpy as np
import pytest

from genie_tf.datasets.actions import Actions
from genie_tf.datasets.array_episodes import write_arrays
from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.episodes import open_episodes, split_names
from genie_tf.datasets.mixture import parse_mixture

# Datasets by name, and the length of each of their episodes.
LENGTHS = {"a": (9, 40, 17), "b": (25, 8, 12, 4), "c": (30,)}
NAMES = ("left", "right", "wait")


def write(folder, number, lengths, *, size=(1, 1), actions=None, with_actions=True):
    """Write episodes whose pixels are (dataset, episode, step)."""
    episodes = []
    for episode, length in enumerate(lengths):
        frames = np.zeros((length, *size, 3), np.uint8)
        frames[...] = [number, episode, 0]
        frames[..., 2] = np.arange(length)[:, None, None]
        episodes.append((frames, np.arange(length) % 3 if with_actions else None))
    write_arrays(folder, {"train": episodes}, actions)


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (name, lengths) in enumerate(LENGTHS.items()):
        write(tmp_path / name, number, lengths)


def noise(rng, clip):
    return {"noise": rng.random(3)}


def take(dataset, number, batch_size=10, seed=3, **settings):
    """Return the first batches of a dataset's clips of 4 frames, as one."""
    batches = ClipDataset(open_episodes(dataset, "train"), 4).batches(
        batch_size, seed, **settings
    )
    taken = list(itertools.islice(batches, number))
    batches.close()
    return {name: np.concatenate([x[name] for x in taken]) for name in taken[0]}


def test_each_dataset_has_exactly_its_share():
    video = take("a:0.5,b:0.3,c:0.2", 6)["video"]
    for batch in video.reshape(6, 10, *video.shape[1:]):
        counts = np.bincount(batch[:, 0, 0, 0, 0], minlength=3)
        np.testing.assert_array_equal(counts, [5, 3, 2])


def test_each_dataset_keeps_its_own_order():
    mixed = take("a:2,b:1", 12)
    for number, name in enumerate("ab"):
        chosen = mixed["video"][:, 0, 0, 0, 0] == number
        alone = take(name, 8)
        for column in ("video", "action"):
            part = mixed[column][chosen]
            np.testing.assert_array_equal(part, alone[column][: len(part)])


def test_datasets_take_turns_at_random():
    order = take("a:0.5,b:0.5", 10)["video"][:, 0, 0, 0, 0]
    assert {tuple(block) for block in order.reshape(-1, 2)} == {(0, 1), (1, 0)}
    other = take("a:0.5,b:0.5", 10, seed=4)["video"][:, 0, 0, 0, 0]
    assert np.any(order != other)


def test_start_step_equals_uninterrupted_run():
    whole = take("a:0.7,b:0.3", 12, transforms=[noise])
    rest = take("a:0.7,b:0.3", 5, transforms=[noise], start_step=7)
    for name, array in whole.items():
        np.testing.assert_array_equal(rest[name], array[70:])


def test_workers_share_each_batch():
    settings = {"dataset": "a:2,b:1", "number": 1, "transforms": [noise]}
    whole = take(**settings)
    shares = [take(**settings, shard=(worker, 5)) for worker in range(5)]
    for name, array in whole.items():
        joined = np.concatenate([share[name] for share in shares])
        np.testing.assert_array_equal(joined, array)


def test_episodes_are_those_of_each_dataset():
    mixed = open_episodes("a:1,c:1", "train")
    np.testing.assert_array_equal(mixed.lengths, [*LENGTHS["a"], *LENGTHS["c"]])
    frames, actions = mixed.read_episode(3)
    np.testing.assert_array_equal(frames[5, 0, 0], [2, 0, 5])
    np.testing.assert_array_equal(mixed.read_numbers(3)["action"], actions)


def test_actions_are_equivalent_if_they_are_in_every_dataset():
    write("d", 3, (9,), actions=Actions(NAMES, (0, 0, 0)))
    write("e", 4, (9,), actions=Actions(NAMES, (0, 1, 1)))
    episodes = open_episodes("d:1,e:1", "train")
    assert episodes.actions == Actions(NAMES, (0, 1, 1))


@pytest.mark.parametrize(
    ("mixture", "weights"),
    [
        ("a", {}),
        ("coinrun/random_hard", {}),
        ("robot:0.1.0", {}),
        ("a:0.7,b:0.3", {"a": 7, "b": 3}),
        ("a:2, b:1", {"a": 2, "b": 1}),
        ("robot:0.1.0:0.5,a:1.5", {"robot:0.1.0": 1, "a": 3}),
        ("a:1e-1,b:.3,c:0.6", {"a": 1, "b": 3, "c": 6}),
    ],
)
def test_weights_become_the_smallest_whole_numbers(mixture, weights):
    assert parse_mixture(mixture) == weights


def test_folder_may_have_comma_in_its_name():
    write("x,y", 0, (9,))
    assert parse_mixture("x,y") == {}
    assert set(take("x,y", 1)["video"][:, 0, 0, 0, 0]) == {0}


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (
            "a:1,b",
            "Expected NAME:WEIGHT for each dataset of the mixture 'a:1,b'; received 'b'.",
        ),
        (
            "a:1,",
            "Expected NAME:WEIGHT for each dataset of the mixture 'a:1,'; received ''.",
        ),
        ("a:1,a:2", "The mixture 'a:1,a:2' names 'a' twice."),
        *(
            (
                f"a:1,b:{weight}",
                f"Expected weights above 0 in the mixture 'a:1,b:{weight}'; 'b' has the "
                f"weight '{weight}'.",
            )
            for weight in ("0", "-0.3", "nan", "inf", "1e999", "many", "")
        ),
        (
            "a:0.3333333,b:0.6666667",
            "Expected weights with at most six digits in the mixture "
            "'a:0.3333333,b:0.6666667': these repeat only after 10,000,000 clips.",
        ),
        (
            "a:1,small:1",
            "The mixture 'a:1,small:1' needs datasets that are alike: 'a' has frames of "
            "(1, 1, 3), 'small' has frames of (2, 1, 3): scale them with "
            "--config.resize=True or --resize.",
        ),
        (
            "named:1,other:1",
            "The mixture 'named:1,other:1' needs datasets that are alike: 'named' has "
            "the actions left, right, wait, 'other' has the actions up, down, wait.",
        ),
        (
            "a:1,named:1",
            "The mixture 'a:1,named:1' needs datasets that are alike: 'a' has the "
            "actions without names, 'named' has the actions left, right, wait.",
        ),
        (
            "a:1,plain:1",
            "The mixture 'a:1,plain:1' needs datasets that are alike: 'a' has the "
            "columns action, video, 'plain' has the columns video.",
        ),
        (
            "a:1,short:1",
            "No episode of 'short', split 'train', is long enough: requested clips of "
            "4 frames; the longest episode has 3.",
        ),
    ],
)
def test_errors_are_one_sentence(mixture, message):
    write("small", 3, (9,), size=(2, 1))
    write("named", 4, (9,), actions=Actions(NAMES, (0, 1, 2)))
    write("other", 5, (9,), actions=Actions(("up", "down", "wait"), (0, 1, 2)))
    write("plain", 6, (9,), with_actions=False)
    write("short", 7, (3,))
    with pytest.raises(ValueError) as error:
        ClipDataset(open_episodes(mixture, "train"), 4)
    assert str(error.value) == message


def test_unknown_dataset_is_named():
    with pytest.raises(ValueError, match="^There is no dataset 'coinrn/random': .*"):
        open_episodes("a:1,coinrn/random:1", "train")


def test_splits_of_a_mixture_are_not_listed():
    with pytest.raises(ValueError) as error:
        split_names("a:1,b:1")
    assert str(error.value) == "Expected one dataset; received the mixture 'a:1,b:1'."
