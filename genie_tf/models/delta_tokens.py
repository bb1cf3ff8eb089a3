"""Tokens of a frame as a change of the frame before, in one row.

A row holds the shift of the picture, then one mode per patch, then the codes of each
patch, which count from 1: they are 0 where nothing is drawn.

Axes: b batch, n patches, d depth (codes of a patch).
"""

from typing import Any, NamedTuple

from keras import ops

# What becomes of a patch: it moves with the picture, stays in its place, or is drawn.
# Pixels of a moved patch that were never in view are drawn, too.
MODES = MOVED, STAYED, DRAWN = range(3)


class DeltaTokens(NamedTuple):
    """Tokens of frames, each int32, with any leading axes.

    Attributes:
        shift: (...), see `genie_tf.layers.motion`.
        mode: (..., n), MOVED, STAYED or DRAWN.
        codes: (..., n, d), the codes plus 1, or 0.
    """

    shift: Any
    mode: Any
    codes: Any

    def pack(self):
        """Return the tokens as one row, int32 (..., 1 + n + n * d)."""
        n, depth = self.codes.shape[-2:]
        codes = ops.reshape(self.codes, (*ops.shape(self.mode)[:-1], n * depth))
        parts = self.shift[..., None], self.mode, codes
        return ops.concatenate([ops.cast(x, "int32") for x in parts], axis=-1)

    @property
    def drawn(self):
        """Whether a patch has codes, bool (..., n)."""
        return self.codes[..., 0] > 0


def unpack(tokens, n: int, depth: int) -> DeltaTokens:
    """Return the parts of packed tokens, for n patches of `depth` codes."""
    codes = tokens[..., 1 + n :]
    return DeltaTokens(
        tokens[..., 0],
        tokens[..., 1 : 1 + n],
        ops.reshape(codes, (*ops.shape(tokens)[:-1], n, depth)),
    )


def tokens_per_frame(n: int, depth: int) -> int:
    """Return the length of a row."""
    return 1 + n + n * depth
