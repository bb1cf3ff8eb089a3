"""The published settings, at their real size, against what the papers say of them."""

import math
from importlib import import_module
from pathlib import Path

import pytest

from genie_tf.experiments import configs, published
from genie_tf.layers import patch_grid
from genie_tf.testing.tiny_models import TinyAutoencoder
from genie_tf.training.optimizers import WarmupDecay, make_optimizer

# The papers round, and leave the feed-forward open. The widths as published come to more
# than "300M" for the latent action model, however narrow its feed-forward is.
TOLERANCE = {"tokenizer": 0.03, "latent_action_model": 0.2, "dynamics": 0.1}
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def rows():
    """All models, built without their weights."""
    return list(published.rows())


def test_parameters_are_as_many_as_published(rows):
    print("\n" + published.table(rows))
    for row in rows:
        if row.published:
            expected = pytest.approx(row.published * 1e6, rel=TOLERANCE[row.part])
            assert row.parameters == expected, row
    shown = {(row.config, row.part) for row in rows if row.published}
    # The latent action models of all sizes are one; so are the models of all batches.
    assert len(shown) == 4 + 1 + 9


def test_the_page_shows_the_table(rows):
    assert published.table(rows) in (DOCS / "published.md").read_text()


def test_every_published_size_is_in_the_table():
    names = set()
    for path in Path(configs.__file__).parent.glob("[a-z]*_*.py"):
        text = path.read_text()
        assert f"genie-train --config={path.stem}:" in text
        sizes = import_module(f"{configs.__name__}.{path.stem}").SIZES
        names |= {
            f"{path.stem}:{size}" for size in sizes if size not in ("fast", "tiny")
        }
    assert names == set(published.CONFIGS) | {"coinrun_lam:paper"}


@pytest.mark.parametrize("name", published.CONFIGS)
def test_config_has_an_optimizer_and_a_schedule(name):
    config = published.load(name)
    schedule = WarmupDecay(steps=config.steps, **config.schedule)
    make_optimizer(TinyAutoencoder(), schedule, **config.optimizer)
    assert float(schedule(config.schedule.warmup_steps)) == pytest.approx(
        config.schedule.peak
    )


@pytest.mark.parametrize(
    "size, tokens_per_step, tokens",
    [
        # Genie, section 3.1 and table 10; to as many digits as there.
        ("2.3b_128", 1.9e6, None),
        ("2.3b_256", 3.8e6, None),
        ("2.3b_448", 6.6e6, None),
        ("41m", None, 750e9),
        ("10.1b", None, 942e9),
    ],
)
def test_tokens_seen_are_as_many_as_published(size, tokens_per_step, tokens):
    genie = published.load(f"platformers_genie:{size}")
    model = published.load("platformers_tokenizer:paper").model
    patches = math.prod(patch_grid(*model.frame_shape[:2], model.patch_size))
    found = genie.batch_size * genie.clip_length * patches
    if tokens_per_step:
        assert round(found / 1e6, 1) * 1e6 == pytest.approx(tokens_per_step)
    if tokens:
        assert found * genie.steps == pytest.approx(tokens, rel=0.01)
