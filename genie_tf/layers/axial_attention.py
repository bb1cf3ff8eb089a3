"""Self-attention over a video: within a frame, over past frames, or both.

Axes: b batch, t time, n patches, d model dim, h heads, k head dim.
"""

import keras
from keras import ops

from genie_tf.layers.arguments import check_choice, check_flag, check_whole
from genie_tf.layers.position_embedding import alibi_slopes, rotary_embedding


class AxialAttention(keras.layers.Layer):
    """Base class of attention layers: projections and settings.

    Args:
        num_heads: number of attention heads.
        head_dim: width of a query, key or value; num_heads * head_dim can differ from
            the width of the model.
        qk_norm: normalize queries and keys before the dot product (Genie, section 3),
            by their root mean square and with a learned scale; or "unit", to unit
            length, with a learned scale and products times 8 (GenieRedux; Dehghani et
            al. 2023), which is nearly the same for a `head_dim` of 64.
        bias: projections with a bias: "output", "all" or "none".
        own_context: make keys and values from another input than queries.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        qk_norm: bool | str = False,
        bias: str = "output",
        own_context: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(num_heads=num_heads, head_dim=head_dim)
        check_flag(own_context=own_context)
        check_choice((False, True, "unit"), qk_norm=qk_norm)
        check_choice(("output", "all", "none"), bias=bias)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.qk_norm = qk_norm
        self.bias = bias
        self.own_context = own_context
        width, with_bias = num_heads * head_dim, bias == "all"
        policy = {"dtype": self.dtype_policy}
        if own_context:
            self.to_query = keras.layers.Dense(
                width, use_bias=with_bias, name="to_query", **policy
            )
            self.to_key_value = keras.layers.Dense(
                2 * width, use_bias=with_bias, name="to_key_value", **policy
            )
        else:
            self.to_qkv = keras.layers.Dense(
                3 * width, use_bias=with_bias, name="to_qkv", **policy
            )
        # The length of a head whose root mean square is 1 is the root of its width.
        self.logit_scale = 8 / head_dim if qk_norm == "unit" else head_dim**-0.5
        if qk_norm:
            norm = {"epsilon": 1e-12 if qk_norm == "unit" else 1e-6, **policy}
            self.query_norm = keras.layers.RMSNormalization(**norm)
            self.key_norm = keras.layers.RMSNormalization(**norm)

    def build(self, input_shape):
        width = self.num_heads * self.head_dim
        for layer in (
            (self.to_query, self.to_key_value) if self.own_context else (self.to_qkv,)
        ):
            layer.build(input_shape)
        self.to_output = keras.layers.Dense(
            input_shape[-1],
            use_bias=self.bias != "none",
            dtype=self.dtype_policy,
            name="to_output",
        )
        self.to_output.build((*input_shape[:-1], width))
        if self.qk_norm:
            self.query_norm.build((None, None, self.num_heads, self.head_dim))
            self.key_norm.build((None, None, self.num_heads, self.head_dim))

    def project(self, tokens, context=None):
        """Return queries, keys and values, each (rows, length, h, k).

        Args:
            tokens: (rows, length, d).
            context: the same shape, from which keys and values are made if
                `own_context`.
        """

        # The query, key and value of a head are adjacent, so that heads can be split
        # across devices.
        def by_head(projected, parts):
            heads = ops.reshape(
                projected,
                (-1, ops.shape(tokens)[1], self.num_heads, parts * self.head_dim),
            )
            return ops.split(heads, parts, axis=-1)

        if self.own_context:
            (query,) = by_head(self.to_query(tokens), 1)
            key, value = by_head(self.to_key_value(context), 2)
        else:
            query, key, value = by_head(self.to_qkv(tokens), 3)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        return query, key, value

    def merge(self, heads):
        """Project heads, (rows, length, h, k), to outputs, (rows, length, d)."""
        length = ops.shape(heads)[1]
        width = self.num_heads * self.head_dim
        return self.to_output(ops.reshape(heads, (-1, length, width)))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "qk_norm": self.qk_norm,
            "bias": self.bias,
            "own_context": self.own_context,
        }


def _flat(tokens, shape):
    """Return tokens in another shape; None stays None."""
    return None if tokens is None else ops.reshape(tokens, shape)


@keras.saving.register_keras_serializable("genie_tf")
class SpatialAttention(AxialAttention):
    """Attention of each patch to all patches of its frame.

    Call arguments:
        tokens: (batch, time, patches, dim).
        context: the same shape, if `own_context`.
        logit_bias: (heads, patches, patches), added to the logits.

    Returns:
        The same shape.
    """

    def call(self, tokens, context=None, logit_bias=None):
        b, t, n, d = ops.shape(tokens)
        rows, context = (_flat(x, (-1, n, d)) for x in (tokens, context))
        query, key, value = self.project(rows, context)
        if logit_bias is not None:
            logit_bias = ops.cast(logit_bias, query.dtype)[None]
        attended = ops.dot_product_attention(
            query, key, value, bias=logit_bias, scale=self.logit_scale
        )
        return ops.reshape(self.merge(attended), (-1, t, n, d))


class CausalAttention(AxialAttention):
    """Base class of attention to the past: a window of frames, and their cache.

    A frame attends to itself and to the `window - 1` frames before it. Finished frames
    never change: `step` computes the same from cached keys and values, for any number of
    frames.

    Attention runs over rows, (rows, time * tokens, dim). A row holds one or more tokens
    of each frame, which attend to each other too; see `tokens_per_row`.

    Args:
        num_heads: see `AxialAttention`.
        head_dim: see `AxialAttention`; even if positions are rotary.
        qk_norm: see `AxialAttention`.
        window: number of frames that a frame attends to, itself included.
        position: how attention depends on the age of a frame: "rotary"; "alibi", a bias
            that falls with it, see `alibi_slopes`; "none".
        bias, own_context: see `AxialAttention`.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        qk_norm: bool | str = False,
        window: int = 16,
        position: str = "rotary",
        **kwargs,
    ):
        super().__init__(num_heads, head_dim, qk_norm, **kwargs)
        check_whole(window=window)
        check_choice(("rotary", "alibi", "none"), position=position)
        if position == "rotary" and head_dim % 2:
            raise ValueError(
                "`head_dim` must be even for attention over time, because positions "
                f"rotate pairs of features; received {head_dim}."
            )
        self.window = window
        self.position = position

    def tokens_per_row(self, num_patches: int) -> int:
        """Return how many tokens of a frame attend to each other."""
        raise NotImplementedError

    def attend(self, rows, context, tokens_per_row: int):
        """Apply causal attention within each row, (rows, time * tokens, dim)."""
        query, key, value = self.project(rows, context)
        frame = ops.arange(ops.shape(rows)[1]) // tokens_per_row
        # Age of each key (column) for each query (row), in frames.
        age = frame[:, None] - frame[None, :]
        bias = None
        if self.position == "alibi":
            bias = ops.cast(self._age_bias(age), query.dtype)[None]
        return self.merge(
            ops.dot_product_attention(
                self._rotate(query, frame),
                self._rotate(key, frame),
                value,
                bias=bias,
                mask=((age >= 0) & (age < self.window))[None, None],
                scale=self.logit_scale,
            )
        )

    def _rotate(self, vectors, positions):
        if self.position != "rotary":
            return vectors
        return rotary_embedding(vectors, positions)

    def _age_bias(self, age):
        """Return the bias of ALiBi, float32 (h, *age.shape)."""
        slopes = alibi_slopes(self.num_heads)
        slopes = ops.reshape(slopes, (-1, *[1] * len(age.shape)))
        return -slopes * ops.cast(age, "float32")

    def empty_cache(self, batch: int, num_patches: int):
        """Return an empty cache: keys and values in a ring of `window` slots per row."""
        m = self.tokens_per_row(num_patches)
        rows = batch * (num_patches // m)
        shape = (rows, self.num_heads, self.window * m, self.head_dim)
        return tuple(ops.zeros(shape, dtype=self.compute_dtype) for _ in "kv")

    def step(self, tokens, cache, position, context=None):
        """Apply attention from one frame to the cached past and itself.

        Args:
            tokens: (batch, 1, patches, dim), the frame at `position`.
            cache: keys and values of the frames before it.
            position: int (batch,), position in each video, 0 for the first frame.
            context: the same shape as `tokens`, if `own_context`.

        Returns:
            The outputs of the frame, and its keys and values, for `write`.
        """
        _, _, n, d = tokens.shape
        m = self.tokens_per_row(n)
        rows, context = (_flat(x, (-1, m, d)) for x in (tokens, context))
        query, key, value = self.project(rows, context)
        position = _position_per_row(position, n // m)
        query, key = (self._rotate(x, position) for x in (query, key))
        # In the order that `matmul` needs, so that the cache is never transposed.
        query, key, value = (
            ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value)
        )
        keys, values = cache
        # The slot for this frame still holds a frame that has left the window.
        slot = ops.arange(self.window * m) // m
        visible = (slot < position) & (slot != position % self.window)
        past = self._products(query, keys)
        if self.position == "alibi":
            age = (position - slot) % self.window
            past += ops.transpose(self._age_bias(age), (1, 0, 2))[:, :, None]
        # Logits are concatenated, not keys: that would copy the cache.
        logits = ops.concatenate(
            [
                ops.where(visible[:, None, None], past, -1e9),
                self._products(query, key),
            ],
            axis=-1,
        )
        shares = ops.cast(ops.softmax(logits), value.dtype)
        attended = ops.matmul(shares[..., :-m], values) + ops.matmul(
            shares[..., -m:], value
        )
        attended = ops.transpose(attended, (0, 2, 1, 3))
        return ops.reshape(self.merge(attended), (-1, 1, n, d)), (key, value)

    def _products(self, queries, keys):
        """Return scaled dot products, float32 (rows, h, i, j).

        Args:
            queries: (rows, h, i, k).
            keys: (rows, h, j, k).
        """
        logits = ops.matmul(queries, ops.swapaxes(keys, -2, -1))
        return ops.cast(logits, "float32") * self.logit_scale

    def write(self, cache, entry, position):
        """Return the cache with a frame added.

        Args:
            cache: keys and values of the frames before it.
            entry: keys and values of the frame, from `step`.
            position: int (batch,), position of the frame in each video.
        """
        m = entry[0].shape[2]
        rows_per_video = ops.shape(entry[0])[0] // ops.shape(position)[0]
        slot = _position_per_row(position, rows_per_video) % self.window
        taken = ops.arange(self.window * m) // m == slot
        return tuple(
            ops.where(
                taken[:, None, :, None], ops.tile(new, (1, 1, self.window, 1)), past
            )
            for past, new in zip(cache, entry, strict=True)
        )

    def get_config(self):
        return {
            **super().get_config(),
            "window": self.window,
            "position": self.position,
        }


def _position_per_row(position, rows_per_video: int):
    """Repeat (batch,) as (rows, 1); `ops.repeat` adds far more nodes on TensorFlow."""
    return ops.reshape(ops.tile(position[:, None], (1, rows_per_video)), (-1, 1))


@keras.saving.register_keras_serializable("genie_tf")
class CausalTemporalAttention(CausalAttention):
    """Attention of each patch to the same patch position, now and in the past.

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.

    Example:

    ```python
    attention = CausalTemporalAttention(num_heads=2, head_dim=8, window=4)
    outputs = attention(keras.random.normal((1, 6, 12, 16)))  # (1, 6, 12, 16)
    ```
    """

    def tokens_per_row(self, num_patches: int) -> int:
        return 1

    def call(self, tokens, context=None):
        b, t, n, d = ops.shape(tokens)
        rows, context = (
            None
            if x is None
            else ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, t, d))
            for x in (tokens, context)
        )
        attended = ops.reshape(self.attend(rows, context, 1), (-1, n, t, d))
        return ops.transpose(attended, (0, 2, 1, 3))


@keras.saving.register_keras_serializable("genie_tf")
class CausalSpaceTimeAttention(CausalAttention):
    """Attention of each patch to all patches of its frame and of the past.

    The cost is quadratic in the number of frames (C-ViViT; Villegas et al. 2023).

    Call arguments:
        tokens: (batch, time, patches, dim).

    Returns:
        The same shape.
    """

    def tokens_per_row(self, num_patches: int) -> int:
        return num_patches

    def call(self, tokens, context=None):
        b, t, n, d = ops.shape(tokens)
        rows, context = (_flat(x, (-1, t * n, d)) for x in (tokens, context))
        attended = self.attend(rows, context, n)
        return ops.reshape(attended, (-1, t, n, d))
