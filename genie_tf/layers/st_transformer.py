"""The spatiotemporal transformer every part of Genie is built from (section 2)."""

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
    """Attention over space, causal attention over time, then one feed-forward.

    The feed-forward after the spatial layer is left out on purpose (Genie, Figure 3).
    Residual connections with layer norm before each part.

    Args:
        num_heads: heads of each attention.
        head_dim: width of a head.
        mlp_dim: hidden width of the feed-forward.
        qk_norm: normalize queries and keys.
        window: how many frames a frame sees, itself included.
        attention: "st", over space and then over time; "space", within a frame alone;
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
            to_the_past = (
                CausalTemporalAttention if self.space else CausalSpaceTimeAttention
            )
            self.time = to_the_past(num_heads, head_dim, qk_norm, window, **policy)
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
        """The cache of no frame, for `step`; empty where no frame sees another."""
        return self.time.empty_cache(batch, num_patches) if self.time else ()

    def step(self, tokens, cache, position):
        """One frame (batch, 1, patches, dim) over a cached past: outputs, its entry."""
        entry = ()
        if self.space:
            tokens = tokens + self.space(self.space_norm(tokens))
        if self.time:
            attended, entry = self.time.step(self.time_norm(tokens), cache, position)
            tokens = tokens + attended
        return tokens + self.feed_forward(tokens), entry

    def write(self, cache, entry, position):
        """Return the cache with a frame in it, from the entry that `step` returned."""
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
    """A stack of ST blocks over tokens that know their place in the frame.

    Adds a learned embedding of the patch position once, at the start; positions in
    time are rotary, inside attention. Ends in a layer norm. Cost grows linearly with
    the number of frames.

    Args:
        dim: width of the tokens.
        num_blocks: number of ST blocks.
        num_heads: attention heads.
        head_dim: width of a head; dim / num_heads if not given.
        mlp_dim: hidden width of the feed-forward; 4 * dim if not given.
        qk_norm: normalize queries and keys.
        window: how many frames a frame sees, itself included.
        attention: "st", over space and then over time, in each block; or, to compare
            with, "space", within a frame alone (ViT), or "space_time", one attention
            to all patches of a frame and of the past (C-ViViT), whose cost grows with
            the square of the number of frames.
        remat: compute each block anew in the backward pass instead of keeping all that
            is inside it, to save memory.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape. Outputs of frame t depend on frames 1..t only.
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
                "`num_heads` must divide `dim` where `head_dim` is not given; received "
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
        """The cache of no frame, for `step`: keys and values of each block."""
        return [block.empty_cache(batch, num_patches) for block in self.blocks]

    def step(self, tokens, cache, position):
        """One frame over a cached past: the same outputs as `call` at that frame.

        Args:
            tokens: (batch, 1, patches, dim), the frame at `position`.
            cache: of `empty_cache`, or with the frames before written into it.
            position: int (batch,), of each video, 0 for the first frame; unbounded.

        Returns:
            Outputs (batch, 1, patches, dim); and the frame's entry, for `write`.
        """
        tokens = self.position(tokens)
        entries = []
        for block, block_cache in zip(self.blocks, cache, strict=True):
            tokens, entry = block.step(tokens, block_cache, position)
            entries.append(entry)
        return self.norm(tokens), entries

    def write(self, cache, entries, position):
        """The cache with a frame in it, once the frame is final.

        Args:
            cache: of the frames before it.
            entries: what `step` returned of the frame.
            position: int (batch,), of the frame in each video.

        Returns:
            A cache of the same form.
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
        """The arguments that make this transformer what it is, for a model's config."""
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
