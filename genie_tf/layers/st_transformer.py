"""Spatiotemporal (ST) transformer, the backbone of all Genie models (section 2)."""

import keras

from genie_tf.layers.arguments import check_flag, check_whole
from genie_tf.layers.axial_attention import (
    CausalSpaceTimeAttention,
    CausalTemporalAttention,
    SpatialAttention,
)
from genie_tf.layers.position_embedding import SpatialPositionEmbedding

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
        qk_norm: normalize queries and keys.
        window: number of frames that a frame attends to, itself included.
        attention: "st", over space and then over time; "space", only within a frame;
            "space_time", one attention to all patches of a frame and of the past.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        mlp_dim: int,
        qk_norm: bool = False,
        window: int = 16,
        attention: str = "st",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(mlp_dim=mlp_dim)
        if attention not in _ATTENTIONS:
            raise ValueError(
                f"`attention` must be one of {', '.join(_ATTENTIONS)}; received "
                f"{attention!r}."
            )
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.mlp_dim = mlp_dim
        self.qk_norm = qk_norm
        self.window = window
        self.attention = attention
        policy = {"dtype": self.dtype_policy}
        self.space_norm = self.space = self.time_norm = self.time = None
        if attention != "space_time":
            self.space_norm = keras.layers.LayerNormalization(**policy)
            self.space = SpatialAttention(num_heads, head_dim, qk_norm, **policy)
        if attention != "space":
            self.time_norm = keras.layers.LayerNormalization(**policy)
            temporal_class = (
                CausalTemporalAttention if self.space else CausalSpaceTimeAttention
            )
            self.time = temporal_class(num_heads, head_dim, qk_norm, window, **policy)
        self.mlp_norm = keras.layers.LayerNormalization(**policy)
        self.mlp_in = keras.layers.Dense(mlp_dim, name="mlp_in", **policy)

    def build(self, input_shape):
        for layer in (self.space_norm, self.space, self.time_norm, self.time):
            if layer:
                layer.build(input_shape)
        self.mlp_norm.build(input_shape)
        self.mlp_in.build(input_shape)
        self.mlp_out = keras.layers.Dense(
            input_shape[-1], dtype=self.dtype_policy, name="mlp_out"
        )
        self.mlp_out.build((*input_shape[:-1], self.mlp_dim))

    def call(self, tokens):
        if self.space:
            tokens = tokens + self.space(self.space_norm(tokens))
        if self.time:
            tokens = tokens + self.time(self.time_norm(tokens))
        return tokens + self.feed_forward(tokens)

    def empty_cache(self, batch: int, num_patches: int):
        """Return an empty cache for `step`; () if frames do not attend to the past."""
        return self.time.empty_cache(batch, num_patches) if self.time else ()

    def step(self, tokens, cache, position):
        """Apply the block to one frame over a cached past, see `STTransformer.step`."""
        entry = ()
        if self.space:
            tokens = tokens + self.space(self.space_norm(tokens))
        if self.time:
            attended, entry = self.time.step(self.time_norm(tokens), cache, position)
            tokens = tokens + attended
        return tokens + self.feed_forward(tokens), entry

    def write(self, cache, entry, position):
        """Return the cache with the entry of a frame added, from `step`."""
        return self.time.write(cache, entry, position) if self.time else ()

    def feed_forward(self, tokens):
        hidden = self.mlp_in(self.mlp_norm(tokens))
        return self.mlp_out(keras.ops.gelu(hidden, approximate=True))

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
        }


@keras.saving.register_keras_serializable("genie_tf")
class STTransformer(keras.layers.Layer):
    """Stack of ST blocks with position embeddings.

    Adds a learned embedding of the patch position to its input; positions in time are
    rotary, inside attention. Ends with a layer norm. The cost is linear in the number
    of frames.

    Args:
        dim: width of the tokens.
        num_blocks: number of ST blocks.
        num_heads: number of attention heads.
        head_dim: width of a head, default dim / num_heads.
        mlp_dim: hidden width of the feed-forward layer, default 4 * dim.
        qk_norm: normalize queries and keys.
        window: number of frames that a frame attends to, itself included.
        attention: "st", over space and then over time, in each block; or, for
            comparison, "space", only within a frame (ViT), or "space_time", one
            attention to all patches of a frame and of the past (C-ViViT), whose cost is
            quadratic in the number of frames.
        remat: recompute the activations of each block in the backward pass, to save
            memory.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape. Outputs of frame t depend on frames 1..t only.

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
        qk_norm: bool = False,
        window: int = 16,
        attention: str = "st",
        remat: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(dim=dim, num_heads=num_heads, window=window)
        check_whole(num_blocks=num_blocks, least=0)
        check_flag(qk_norm=qk_norm, remat=remat)
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
        policy = {"dtype": self.dtype_policy}
        self.position = SpatialPositionEmbedding(**policy)
        self.blocks = [
            STBlock(
                num_heads,
                self.head_dim,
                self.mlp_dim,
                qk_norm,
                window,
                attention,
                **policy,
            )
            for _ in range(num_blocks)
        ]
        self.norm = keras.layers.LayerNormalization(**policy)

    def build(self, input_shape):
        if input_shape[-1] != self.dim:
            raise ValueError(
                f"Expected tokens of width dim={self.dim}; received shape "
                f"{tuple(input_shape)}."
            )
        for layer in (self.position, *self.blocks, self.norm):
            layer.build(input_shape)

    def call(self, tokens):
        tokens = self.position(tokens)
        for block in self.blocks:
            tokens = keras.remat(block)(tokens) if self.remat else block(tokens)
        return self.norm(tokens)

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
        tokens = self.position(tokens)
        entries = []
        for block, block_cache in zip(self.blocks, cache, strict=True):
            tokens, entry = block.step(tokens, block_cache, position)
            entries.append(entry)
        return self.norm(tokens), entries

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
        return input_shape

    def arguments(self):
        """Return the constructor arguments that define it, for a model's config."""
        return {
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "mlp_dim": self.mlp_dim,
            "qk_norm": self.qk_norm,
            "window": self.window,
            "attention": self.attention,
        }

    def get_config(self):
        return {**super().get_config(), **self.arguments(), "remat": self.remat}
