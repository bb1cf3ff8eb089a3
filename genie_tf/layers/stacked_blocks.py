"""Equal blocks, one after the other; compiled once, if asked for, not once per block."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

import keras
from keras import ops

_in_loop = contextvars.ContextVar("in_loop", default=False)


@contextlib.contextmanager
def blocks_in_loop() -> Iterator[None]:
    """Within the context, compile the blocks of a transformer as one loop.

    The time to compile then hardly depends on their number. The weights stay those of
    the blocks: they are stacked in the program, which takes as much memory again as they
    have in the dtype of the computation.
    """
    token = _in_loop.set(True)
    try:
        yield
    finally:
        _in_loop.reset(token)


def apply_blocks(blocks: Sequence[keras.Layer], tokens, *arguments, remat: bool):
    """Return the output of the last of the blocks.

    Args:
        blocks: built layers with equal arguments, so that only their weights differ.
        tokens: input of the first block, of the shape of its output.
        *arguments: further arguments of each block.
        remat: recompute the activations of each block in the backward pass.
    """

    def apply(block, tokens):
        # A new function for each call: JAX would reuse the trace of an old one, with the
        # weights of that time.
        def call(tokens):
            return block(tokens, *arguments)

        return (keras.remat(call) if remat else call)(tokens)

    if not (_in_loop.get() and len(blocks) > 1):
        for block in blocks:
            tokens = apply(block, tokens)
        return tokens

    def body(tokens, values):
        with keras.StatelessScope(list(zip(blocks[0].variables, values, strict=True))):
            return apply(blocks[0], tokens), None

    columns = zip(*(block.variables for block in blocks), strict=True)
    stacked = [ops.stack([v.value for v in variables]) for variables in columns]
    return ops.scan(body, tokens, stacked)[0]
