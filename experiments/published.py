"""Print the parameter counts of all published settings, next to those in the papers.

python -m genie_tf.experiments.published

Allocates no weights, so the largest model can be counted on any machine.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import NamedTuple

# Millions of parameters, as rounded in the papers. The papers do not report the other
# configs.
_PLATFORMERS_DYNAMICS = {
    "41m": 41,
    "96m": 96,
    "192m": 192,
    "404m": 404,
    "580m": 580,
    "811m": 811,
    "1.6b": 1_600,
    "2.7b": 2_700,
    "2.3b_128": 2_300,
    "2.3b_256": 2_300,
    "2.3b_448": 2_300,
    "10.1b": 10_100,
}
PUBLISHED = {
    ("platformers_tokenizer:paper", "tokenizer"): 200,
    ("platformers_tokenizer:batch_64", "tokenizer"): 200,
    ("platformers_tokenizer:st_vivit", "tokenizer"): 205,
    ("platformers_tokenizer:vit", "tokenizer"): 230,
    ("platformers_tokenizer:c_vivit", "tokenizer"): 225,
    **{
        (f"platformers_genie:{size}", part): millions
        for size, dynamics in _PLATFORMERS_DYNAMICS.items()
        for part, millions in (("latent_action_model", 300), ("dynamics", dynamics))
    },
}

# The tokenizer of each Genie.
_TOKENIZERS = {
    "coinrun_genie:paper": "coinrun_tokenizer:paper",
    **{
        f"platformers_genie:{size}": "platformers_tokenizer:paper"
        for size in (*_PLATFORMERS_DYNAMICS, "token_input")
    },
    "jafar_genie:patch16": "jafar_tokenizer:patch16",
    "jafar_genie:patch4": "jafar_tokenizer:patch4",
    "genieredux_genie:paper": "genieredux_tokenizer:paper",
    "genieredux_guided:paper": "genieredux_tokenizer:paper",
    **{
        f"robotics_genie:{size}": "robotics_tokenizer:paper"
        for size in ("2.5b", "1b", "1b_token_input")
    },
}
CONFIGS = (
    *dict.fromkeys(_TOKENIZERS.values()),
    *(
        f"platformers_tokenizer:{name}"
        for name in ("batch_64", "st_vivit", "vit", "c_vivit")
    ),
    "jafar_lam:paper",
    *_TOKENIZERS,
)


class Row(NamedTuple):
    """Feed-forward width and parameter count of one model of a config.

    `published` is in millions, and None if the paper does not report it.
    """

    config: str
    part: str
    mlp_dim: str
    parameters: int
    published: int | None


def load(name: str):
    """Return the config of a name such as "jafar_genie:patch4"."""
    file, size = name.split(":")
    return import_module(f"genie_tf.experiments.configs.{file}").get_config(size)


def make(name: str):
    """Return the untrained model of a config; a Genie includes its tokenizer."""
    from genie_tf.training.build import build_model, build_world

    if name in _TOKENIZERS:
        return build_world(load(name), make(_TOKENIZERS[name]))
    return build_model(load(name))


def rows() -> Iterator[Row]:
    """Yield the models of all published configs; equal ones once per config file."""
    from genie_tf.training.plan import count_parameters

    seen = set()
    for name in CONFIGS:
        config = load(name)
        counts = count_parameters(lambda name=name: make(name))
        if name in _TOKENIZERS:
            del counts["tokenizer"]  # It has its own row.
        for part, parameters in counts.items():
            settings = config.get("model") or config[part]
            names = ("encoder", "decoder", "transformer")
            blocks = [settings[name] for name in names if name in settings]
            widths = [x.mlp_dim or 4 * x.dim for x in blocks]
            row = Row(
                name,
                part,
                " / ".join(map(str, widths)),
                parameters,
                PUBLISHED.get((name, part)),
            )
            file = name.split(":")[0]
            if (file, *row[1:]) not in seen:
                yield row
            seen.add((file, *row[1:]))


def table(rows: Iterable[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        "| config | part | feed-forward | parameters | published | difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, part, mlp_dim, parameters, published in rows:
        count, expected, difference = f"{parameters / 1e6:,.1f}M", "", ""
        if published:
            expected = f"{published:,}M"
            difference = f"{parameters / (published * 1e6) - 1:+.1%}"
        cells = (name, part, mlp_dim, count, expected, difference)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(rows()))
