import json

import pytest

from genie_tf.layers import STTransformer, TransformerOptions, transformer_options


def test_only_changed_options_are_stored():
    assert transformer_options(None) == TransformerOptions()
    assert TransformerOptions().changed() == {}
    given = {"peg": True, "grid": [2, 3], "norm_epsilon": 1e-6}
    options = transformer_options(json.loads(json.dumps(given)))
    assert options.grid == (2, 3)
    assert options.changed() == given
    assert transformer_options(options.changed()) == options


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"pegs": True}, "has no options 'pegs'; it has space_position, "),
        ({"order": "fst"}, "`order` must be one of stf, sftf, tfsf; received 'fst'"),
        ({"bias": True}, "`bias` must be one of output, all, none; received True"),
        ({"entry": 1}, "`entry` must be true or false; received 1"),
        ({"peg": True}, "`peg` and `space_bias_dim` need `grid`"),
        ({"grid": 6}, r"`grid` must be \(rows, columns\); received 6"),
        ({"grid": (0, 6)}, "`rows` must be a whole number from 1"),
    ],
)
def test_invalid_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        transformer_options(options)


def test_options_need_both_attentions():
    with pytest.raises(ValueError, match='only if `attention` is "st"'):
        STTransformer(
            dim=16,
            num_blocks=1,
            num_heads=2,
            attention="space",
            options={"feed_forward": "geglu"},
        )


def test_grid_must_have_as_many_patches():
    transformer = STTransformer(
        dim=16, num_blocks=0, num_heads=2, options={"peg": True, "grid": (2, 3)}
    )
    with pytest.raises(ValueError, match="Expected 2x3 patches per frame.*received 5"):
        transformer.build((1, 2, 5, 16))
