"""Spatiotemporal (ST) transformer, the backbone of all Genie models (section 2)."""

import keras
from keras import ops

from genie_tf.layers.arguments import check_choice, check_flag, check_whole
from genie_tf.layers.axial_attention import (
    CausalAttention,
    CausalSpaceTimeAttention,
    CausalTemporalAttention,
    SpatialAttention,
)
from genie_tf.layers.feed_forward import FeedForward, NormDenseNorm
from genie_tf.layers.position_embedding import (
    PositionEncodingGenerator,
    SpatialBias,
    SpatialPositionEmbedding,
    sinusoidal_embedding,
)
from genie_tf.layers.stacked_blocks import apply_blocks
from genie_tf.layers.transformer_options import TransformerOptions, transformer_options
from genie_tf.layers.value_projection import ValueProjection

_ATTENTIONS = ("st", "space", "space_time")


@keras.saving.register_keras_serializable("genie_tf")
class STBlock(keras.layers.Layer):
    """Spatial attention, causal temporal attention, then one feed-forward layer.

    As in Genie (Figure 3), no feed-forward layer follows spatial attention. Each part
    has a residual connection, with layer norm before it.

    Args:
        num_heads: number of heads in each attention layer.
        head_dim: width of a head.
        mlp_dim: hidden width of the feed-forward layer.
        qk_norm: normalize queries and keys, see `AxialAttention`.
        window: number of frames that a frame attends to, itself included.
        attention: "st", over space and then over time; "space", only within a frame;
            "space_time", one attention to all patches of a frame and of the past.
        options: see `TransformerOptions`; not used are `entry` and `last_norm`.

    Call arguments:
        tokens: (batch, time, patches, dim).
        space_bias: (heads, patches, patches), added to the logits of spatial attention.

    Returns:
        The same shape.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        mlp_dim: int,
        qk_norm: bool | str = False,
        window: int = 16,
        attention: str = "st",
        options: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if attention not in _ATTENTIONS:
            raise ValueError(
                f"`attention` must be one of {', '.join(_ATTENTIONS)}; received "
                f"{attention!r}."
            )
        options = transformer_options(options)
        if attention != "st" and options != TransformerOptions():
            raise ValueError('`options` can be set only if `attention` is "st".')
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.mlp_dim = mlp_dim
        self.qk_norm = qk_norm
        self.window = window
        self.attention = attention
        self.options = options
        self.parts = {"st": options.order, "space": "sf", "space_time": "tf"}[attention]
        policy = {"dtype": self.dtype_policy}
        norm = {"epsilon": options.norm_epsilon, **policy}
        arguments = {
            "num_heads": num_heads,
            "head_dim": head_dim,
            "qk_norm": qk_norm,
            "bias": options.bias,
            "own_context": not options.norm_keys,
            **policy,
        }
        self.space_norm = self.space = self.time_norm = self.time = None
        self.space_peg = self.time_peg = None
        if "s" in self.parts:
            self.space_norm = keras.layers.LayerNormalization(**norm)
            self.space = SpatialAttention(**arguments)
        if "t" in self.parts:
            self.time_norm = keras.layers.LayerNormalization(**norm)
            position = options.time_position
            arguments["window"] = window
            arguments["position"] = "none"
            if position in ("rotary", "alibi"):
                arguments["position"] = position
            if not self.space:
                self.time = CausalSpaceTimeAttention(**arguments)
            elif window == 1 and options.bias == "output" and options.norm_keys:
                self.time = ValueProjection(num_heads, head_dim, **policy)
            else:
                self.time = CausalTemporalAttention(**arguments)
        if options.peg:
            self.space_peg = PositionEncodingGenerator(options.grid, **policy)
            self.time_peg = PositionEncodingGenerator(options.grid, **policy)
        self.feed_forwards = [
            FeedForward(mlp_dim, options.changed(), **policy)
            for _ in range(self.parts.count("f"))
        ]

    def build(self, input_shape):
        for layer in (
            self.space_norm,
            self.space,
            self.time_norm,
            self.time,
            self.space_peg,
            self.time_peg,
            *self.feed_forwards,
        ):
            if layer:
                layer.build(input_shape)

    def call(self, tokens, space_bias=None):
        frames = ops.arange(ops.shape(tokens)[1])[None]

        def peg(layer, tokens):
            return layer(tokens)

        def attend_in_time(normed, context):
            return self.time(normed, **context)

        return self._apply(tokens, frames, space_bias, peg, attend_in_time)

    def empty_cache(self, batch: int, num_patches: int):
        """Return an empty cache for `step`; () if frames do not attend to the past."""
        past = self.time.empty_cache(batch, num_patches) if self.time else ()
        if not self.space_peg:
            return past
        pegs = (self.space_peg, self.time_peg)
        return {"time": past, "peg": [layer.empty_cache(batch) for layer in pegs]}

    def step(self, tokens, cache, position, space_bias=None):
        """Apply the block to one frame over a cached past, see `STTransformer.step`."""
        pegs = {}
        time_entry = ()

        def peg(layer, tokens):
            index = 0 if layer is self.space_peg else 1
            pegs[index] = tokens
            return layer.step(tokens, cache["peg"][index])

        def attend_in_time(normed, context):
            nonlocal time_entry
            past = cache["time"] if self.time_peg else cache
            attended, time_entry = self.time.step(normed, past, position, **context)
            return attended

        tokens = self._apply(tokens, position[:, None], space_bias, peg, attend_in_time)
        if not pegs:
            return tokens, time_entry
        return tokens, {"time": time_entry, "peg": [pegs[0], pegs[1]]}

    def write(self, cache, entry, position):
        """Return the cache with the entry of a frame added, from `step`."""
        if not self.space_peg:
            return self.time.write(cache, entry, position) if self.time else ()
        pegs = (self.space_peg, self.time_peg)
        return {
            "time": self.time.write(cache["time"], entry["time"], position),
            "peg": [
                layer.write(past, new)
                for layer, past, new in zip(
                    pegs, cache["peg"], entry["peg"], strict=True
                )
            ],
        }

    def _apply(self, tokens, frames, space_bias, peg, attend_in_time):
        """Apply all parts in order.

        Args:
            tokens: (batch, time, patches, dim).
            frames: int (batch or 1, time), positions of the frames.
            space_bias: see `call`.
            peg: function that applies a `PositionEncodingGenerator`.
            attend_in_time: function that applies temporal attention.
        """
        options = self.options
        feed_forwards = iter(self.feed_forwards)
        for part in self.parts:
            if part == "f":
                tokens = tokens + next(feed_forwards)(tokens)
                continue
            in_space = part == "s"
            layer = self.space_peg if in_space else self.time_peg
            if layer:
                tokens = peg(layer, tokens)
            context = {} if options.norm_keys else {"context": tokens}
            if in_space:
                inputs = _with_positions(tokens, "space", options.space_position)
                attended = self.space(
                    self.space_norm(inputs), logit_bias=space_bias, **context
                )
            else:
                inputs = _with_positions(tokens, "time", options.time_position, frames)
                attended = attend_in_time(self.time_norm(inputs), context)
            tokens = tokens + attended
        return tokens

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "mlp_dim": self.mlp_dim,
            "qk_norm": self.qk_norm,
            "window": self.window,
            "attention": self.attention,
            "options": self.options.changed() or None,
        }


def _with_positions(tokens, axis: str, kind: str, frames=None, wanted="sinusoidal"):
    """Return tokens with fixed waves added over space or time, if `kind` is `wanted`."""
    if kind != wanted:
        return tokens
    n, dim = tokens.shape[-2:]
    if axis == "space":
        waves = sinusoidal_embedding(ops.arange(n), dim)
    else:
        waves = sinusoidal_embedding(frames, dim)[:, :, None]
    return tokens + ops.cast(waves, tokens.dtype)


@keras.saving.register_keras_serializable("genie_tf")
class STTransformer(keras.layers.Layer):
    """Stack of ST blocks with position embeddings.

    Adds a learned embedding of the patch position to its input; positions in time are
    rotary, inside attention. Ends with a layer norm. `options` change this to the
    transformer of another implementation. The cost is linear in the number of frames.

    Args:
        dim: width of the tokens.
        num_blocks: number of ST blocks.
        num_heads: number of attention heads.
        head_dim: width of a head, default dim / num_heads.
        mlp_dim: hidden width of the feed-forward layer, default 4 * dim.
        qk_norm: normalize queries and keys, see `AxialAttention`.
        window: number of frames that a frame attends to, itself included.
        attention: "st", over space and then over time, in each block; or, for
            comparison, "space", only within a frame (ViT), or "space_time", one
            attention to all patches of a frame and of the past (C-ViViT), whose cost is
            quadratic in the number of frames.
        remat: recompute the activations of each block in the backward pass, to save
            memory.
        options: see `TransformerOptions`.

    Call arguments:
        tokens: (batch, time, patches, dim); of any width if `options` have an entry.

    Returns:
        (batch, time, patches, dim). Outputs of frame t depend on frames 1..t only.

    Example:

    ```python
    transformer = STTransformer(dim=16, num_blocks=2, num_heads=2, window=4)
    outputs = transformer(keras.random.normal((1, 6, 12, 16)))  # (1, 6, 12, 16)
    ```
    """

    def __init__(
        self,
        dim: int,
        num_blocks: int,
        num_heads: int,
        head_dim: int | None = None,
        mlp_dim: int | None = None,
        qk_norm: bool | str = False,
        window: int = 16,
        attention: str = "st",
        remat: bool = False,
        options: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(dim=dim, num_heads=num_heads, window=window)
        check_whole(num_blocks=num_blocks, least=0)
        check_choice((False, True, "unit"), qk_norm=qk_norm)
        check_flag(remat=remat)
        if head_dim is None and dim % num_heads:
            raise ValueError(
                "`num_heads` must divide `dim` if `head_dim` is not given; received "
                f"dim={dim}, num_heads={num_heads}."
            )
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.head_dim = dim // num_heads if head_dim is None else head_dim
        self.mlp_dim = 4 * dim if mlp_dim is None else mlp_dim
        check_whole(head_dim=self.head_dim, mlp_dim=self.mlp_dim)
        self.qk_norm = qk_norm
        self.window = window
        self.attention = attention
        self.remat = remat
        self.options = options = transformer_options(options)
        policy = {"dtype": self.dtype_policy}
        norm = {"epsilon": options.norm_epsilon, **policy}
        self.entry = self.position = self.space_bias = self.norm = None
        if options.entry:
            self.entry = NormDenseNorm(dim, options.norm_epsilon, **policy)
        if options.space_position == "learned":
            self.position = SpatialPositionEmbedding(**policy)
        if options.space_bias_dim:
            self.space_bias = SpatialBias(
                options.grid, num_heads, options.space_bias_dim
            )
        self.blocks = [
            STBlock(
                num_heads,
                self.head_dim,
                self.mlp_dim,
                qk_norm,
                window,
                attention,
                options.changed(),
                **policy,
            )
            for _ in range(num_blocks)
        ]
        if options.last_norm:
            self.norm = keras.layers.LayerNormalization(**norm)

    def build(self, input_shape):
        grid = self.options.grid
        if grid and grid[0] * grid[1] != input_shape[-2]:
            raise ValueError(
                f"Expected {grid[0]}x{grid[1]} patches per frame, as in `grid`; received "
                f"{input_shape[-2]}."
            )
        if self.entry:
            self.entry.build(input_shape)
            input_shape = (*input_shape[:-1], self.dim)
        if input_shape[-1] != self.dim:
            raise ValueError(
                f"Expected tokens of width dim={self.dim}; received shape "
                f"{tuple(input_shape)}."
            )
        for layer in (self.position, *self.blocks, self.norm):
            if layer:
                layer.build(input_shape)

    def call(self, tokens):
        tokens = self._enter(tokens, ops.arange(ops.shape(tokens)[1])[None])
        bias = self._attention_bias()
        return self._leave(apply_blocks(self.blocks, tokens, *bias, remat=self.remat))

    def _enter(self, tokens, frames):
        """Return the input of the first block; `frames` are int (batch or 1, time)."""
        if self.entry:
            tokens = self.entry(tokens)
        for axis in ("time", "space"):
            kind = getattr(self.options, f"{axis}_position")
            tokens = _with_positions(tokens, axis, kind, frames, "sinusoidal_input")
        return self.position(tokens) if self.position else tokens

    def _attention_bias(self) -> tuple:
        return (self.space_bias.compute(),) if self.space_bias else ()

    def _leave(self, tokens):
        return self.norm(tokens) if self.norm else tokens

    @property
    def sees_one_frame(self) -> bool:
        """Whether the outputs of a frame depend on that frame only."""
        alone = self.window == 1 and not self.options.peg
        return alone or self.attention == "space"

    @property
    def cached_frames(self) -> int:
        """Number of frames whose keys and values are in a cache."""
        has_past = any(isinstance(block.time, CausalAttention) for block in self.blocks)
        return self.window if has_past else 0

    def empty_cache(self, batch: int, num_patches: int):
        """Return an empty cache for `step`: keys and values of each block."""
        return [block.empty_cache(batch, num_patches) for block in self.blocks]

    def step(self, tokens, cache, position):
        """Return the outputs of `call` for one frame over a cached past.

        Args:
            tokens: (batch, 1, patches, dim), the frame at `position`.
            cache: from `empty_cache`, or from `write` with the frame before.
            position: int (batch,), position in each video, 0 for the first frame;
                unbounded.

        Returns:
            Outputs (batch, 1, patches, dim), and the entry of the frame, for `write`.
        """
        tokens = self._enter(tokens, position[:, None])
        bias = self._attention_bias()
        entries = []
        for block, block_cache in zip(self.blocks, cache, strict=True):
            tokens, entry = block.step(tokens, block_cache, position, *bias)
            entries.append(entry)
        return self._leave(tokens), entries

    def write(self, cache, entries, position):
        """Return the cache with a final frame added.

        Args:
            cache: cache of the frames before it.
            entries: entry of the frame, from `step`.
            position: int (batch,), position of the frame in each video.
        """
        return [
            block.write(block_cache, entry, position)
            for block, block_cache, entry in zip(
                self.blocks, cache, entries, strict=True
            )
        ]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dim)

    def arguments(self):
        """Return the constructor arguments that define it, for a model's config."""
        changed = self.options.changed()
        return {
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "mlp_dim": self.mlp_dim,
            "qk_norm": self.qk_norm,
            "window": self.window,
            "attention": self.attention,
            **({"options": changed} if changed else {}),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "options": None,
            **self.arguments(),
            "remat": self.remat,
        }
