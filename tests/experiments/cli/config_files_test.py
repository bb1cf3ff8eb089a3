"""Configs by file or name, passed to genie-train."""

import pytest

TOKENIZER = "train tokenizer"


# Invalid input: the run, its changed flags, and a pattern of the error.
WRONG = [
    (
        TOKENIZER,
        {"config": "none.py:tiny"},
        "flag --config=none.py:tiny: there is no config none.py: expected FILE.py:SIZE, or "
        r"NAME:SIZE of one that ships with genie_tf \(coinrun_agent, .*\)",
    ),
    (
        TOKENIZER,
        {"config": "coinrun_tokenizer:huge"},
        "flag --config=coinrun_tokenizer:huge: the size after the colon in --config must "
        "be one of paper, fast, tiny, plain_tiny; received 'huge'",
    ),
    *(
        (TOKENIZER, {"config": config}, f"flag --config={config}: {sentence}")
        for config, sentence in (
            (
                "no.py:tiny",
                r"no.py fails: SyntaxError: invalid syntax \(no.py, line 1\)",
            ),
            (
                "empty.py",
                "empty.py must define a function get_config that returns a config",
            ),
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
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)
