"""Dynamics of changes: what moves, what stays and what is new in the next frame.

Axes: b batch, t time, n patches, d depth (codes of a patch).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from genie_tf.layers import (
    STTransformer,
    check_frame_shape,
    check_whole,
    patch_grid,
    patchify_frames,
)
from genie_tf.layers.arguments import is_share_range
from genie_tf.layers.canvas import (
    blank_canvas,
    canvas_bytes,
    move_canvas,
    paint,
    predict_view,
    view,
)
from genie_tf.layers.motion import moves, num_shifts, shift_frames, still
from genie_tf.models.delta_tokenizer import DeltaTokenizer, check_reach, check_space
from genie_tf.models.delta_tokens import (
    DRAWN,
    MODES,
    MOVED,
    DeltaTokens,
    tokens_per_frame,
    unpack,
)
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.layer_calls import LayerCall
from genie_tf.noise import draw_categorical, fold, uniform
from genie_tf.sampling_settings import NUM_STEPS, TEMPERATURE

# Number of past shifts that are seen: they show the speed.
_PAST = 3
_HIDDEN = len(MODES)


class Past(NamedTuple):
    """Everything that a prediction depends on, apart from the action.

    Attributes:
        canvas: uint8, see `genie_tf.layers.canvas`.
        before: uint8 (b, height, width, channels), the frame before the newest.
        shifts: int32 (b, past), the latest shifts, newest first.
    """

    canvas: Any
    before: Any
    shifts: Any


@keras.saving.register_keras_serializable("genie_tf")
class DeltaDynamics(Dynamics):
    """Dynamics model that predicts the tokens of a `DeltaTokenizer`, in three parts.

    First the shift of the picture, which all patches share; then the mode of each patch,
    seen on the shifted picture; then the codes of drawn patches, the codes of a patch
    one after another. Modes and codes are drawn for a share of the patches at a time, in
    random order (MaskGIT).

    The past is two decoded frames, the latest shifts and the canvas: a cache of tokens
    would show nothing else.

    A call reads `known_modes` and `known_codes`, bool (b, t-1, n), from the batch: the
    patches whose mode and whose codes are known. Codes are predicted once all modes of a
    frame are known.

    Args:
        frame_shape: (height, width, channels) of a frame.
        patch_size: side of a patch in pixels.
        levels: sizes of a code's digits, least significant first: the levels of a
            `FiniteScalarQuantizer`, or only the number of codes. Digits are drawn one by
            one, so similar codes are learned together.
        code_dim: width of a code.
        depth: codes of a drawn patch.
        reach: the largest shift in pixels, down and to the side.
        margin: pixels around the view that are remembered.
        action_dim: width of an action vector.
        motion: arguments of the `STTransformer` that predicts the shift, with
            `attention` "space".
        painter: arguments of the one that predicts modes and codes.
        error_rates: smallest and largest share of a clip's patches that are decoded
            wrongly in training, so that the model learns to mend its errors.

    Raises:
        ValueError: if a transformer does not have `attention` "space".

    Example:

    ```python
    space = {"dim": 32, "num_blocks": 2, "num_heads": 2, "attention": "space"}
    dynamics = DeltaDynamics.for_world(
        tokenizer, 8, {"motion": space, "painter": space}
    )
    ```
    """

    sees_frames = True
    sampling_settings = (
        replace(NUM_STEPS, default=2),
        replace(TEMPERATURE, default=0.5),
    )
    layer_classes = {
        "motion": lambda _: STTransformer,
        "painter": lambda _: STTransformer,
    }

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        patch_size: int,
        levels: Sequence[int],
        code_dim: int,
        depth: int,
        reach: tuple[int, int],
        margin: int,
        action_dim: int,
        motion: dict,
        painter: dict,
        error_rates: tuple[float, float] = (0.0, 0.0),
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_frame_shape(frame_shape)
        check_whole(patch_size=patch_size, code_dim=code_dim)
        check_whole(depth=depth, action_dim=action_dim)
        check_whole(margin=margin, least=0)
        check_reach(reach, frame_shape)
        check_space("DeltaDynamics", motion=motion, painter=painter)
        if not is_share_range(error_rates):
            raise ValueError(
                "`error_rates` must be the smallest and the largest share of patches, "
                f"from 0 to 1; received {error_rates!r:.100}."
            )
        self.frame_shape = tuple(frame_shape)
        self.patch_size = patch_size
        self.levels = tuple(levels)
        self.code_dim = code_dim
        self.depth = depth
        self.reach = tuple(reach)
        self.margin = margin
        self.action_dim = action_dim
        self.error_rates = tuple(error_rates)
        self.num_codes = math.prod(self.levels)
        self.num_patches = math.prod(patch_grid(*self.frame_shape[:2], patch_size))
        policy = {"dtype": self.dtype_policy}
        self.motion = STTransformer(**motion, **policy)
        self.painter = STTransformer(**painter, **policy)
        shifts, width = num_shifts(self.reach), self.motion.dim
        self.motion_embedding = keras.layers.Dense(width, **policy)
        self.motion_action = keras.layers.Dense(width, **policy)
        self.past_shifts = keras.layers.Embedding(_PAST * shifts, width, **policy)
        self.to_shift = keras.layers.Dense(shifts, **policy)
        width = self.painter.dim
        self.copy_embedding = keras.layers.Dense(width, **policy)
        self.painter_action = keras.layers.Dense(width, **policy)
        self.shift_embedding = keras.layers.Embedding(shifts, width, **policy)
        self.mode_embedding = keras.layers.Embedding(_HIDDEN + 1, width, **policy)
        self.table = keras.layers.Embedding(depth * self.num_codes, code_dim, **policy)
        self.code_embedding = keras.layers.Dense(width, **policy)
        self.to_mode = keras.layers.Dense(len(MODES), **policy)
        self.to_hidden = [keras.layers.Dense(width, **policy) for _ in range(depth)]
        self.to_digits = [
            keras.layers.Dense(sum(self.levels), **policy) for _ in range(depth)
        ]
        self.build(None)

    def build(self, input_shape):
        pixels = self.patch_size**2 * self.frame_shape[-1]
        n, width = self.num_patches, self.painter.dim
        for layer, *shape in (
            (self.motion_embedding, n, 2 * pixels),
            (self.motion_action, self.action_dim),
            (self.past_shifts, _PAST),
            (self.motion, n + 1, self.motion.dim),
            (self.to_shift, self.motion.dim),
            (self.copy_embedding, n, 3 * pixels + self.patch_size**2),
            (self.painter_action, self.action_dim),
            (self.shift_embedding,),
            (self.mode_embedding, n),
            (self.table, n),
            (self.code_embedding, n, self.depth * self.code_dim + 1),
            (self.painter, n, width),
            (self.to_mode, n, width),
            *(
                (layer, n, width + level * self.code_dim)
                for level, layer in enumerate(self.to_hidden)
            ),
            *((layer, n, width) for layer in self.to_digits),
        ):
            layer.build((None, 1, *shape))

    @classmethod
    def for_world(cls, tokenizer, action_dim, arguments):
        if not isinstance(tokenizer, DeltaTokenizer):
            raise ValueError(
                "A DeltaDynamics needs a DeltaTokenizer; received a "
                f"{type(tokenizer).__name__}."
            )
        shared = "frame_shape", "patch_size", "code_dim", "depth", "reach", "margin"
        return cls(
            **{name: getattr(tokenizer, name) for name in shared},
            levels=getattr(tokenizer.quantizer, "levels", (tokenizer.num_codes,)),
            action_dim=action_dim,
            **arguments,
        )

    @property
    def num_tokens(self) -> int:
        return tokens_per_frame(self.num_patches, self.depth)

    def start_from(self, codes) -> None:
        self.table.embeddings.assign(np.tile(codes, (self.depth, 1)))

    def training_inputs(self, rng, clip):
        """Return `known_modes` and `known_codes`, with rates drawn for each change, and
        `errors`, with a rate drawn for each clip.

        All modes are known in 70% of the changes.
        """
        changes = len(clip["video"]) - 1
        modes, codes = (
            rng.random((changes, self.num_patches)) < _draw_rates(rng, changes)
            for _ in range(2)
        )
        modes |= rng.random((changes, 1)) < 0.7
        errors = rng.random((changes, self.num_patches)) < rng.uniform(
            *self.error_rates
        )
        return {
            "known_modes": modes,
            "known_codes": codes,
            "errors": errors,
        }

    def call(self, tokens, actions, batch):
        b, t = ops.shape(tokens)[:2]

        def flat(x):
            return ops.reshape(x, (-1, *x.shape[2:]))

        past = keras.tree.map_structure(flat, self._pasts(tokens, batch["decoded"]))
        actions, change = flat(actions), unpack(flat(tokens[:, 1:]), *self._sizes)
        known_modes = flat(batch["known_modes"])
        seen, _ = self.see(past, change.shift, actions)
        mode = ops.where(known_modes, change.mode, _HIDDEN)
        all_modes = ops.all(known_modes, axis=-1, keepdims=True)
        known = flat(batch["known_codes"]) & all_modes & change.drawn
        features = self.features(seen, mode, change.codes, known)
        vectors = self.vectors(change.codes)
        digits = [
            self.digit_logits(features, level, vectors) for level in range(self.depth)
        ]
        logits = {
            "shift": self.shift_logits(past, actions),
            "mode": ops.cast(self.to_mode(features), "float32"),
            "digits": ops.stack(digits, axis=-2),
        }
        return {
            name: ops.reshape(x, (b, t - 1, *x.shape[1:])) for name, x in logits.items()
        }

    @property
    def _sizes(self):
        return self.num_patches, self.depth

    def _pasts(self, tokens, decoded) -> Past:
        """Return the past before each change of a video, (b, t-1, ...) each."""
        b, t = ops.shape(tokens)[:2]
        first = self.see_frame(decoded[:, 0], tokens[:, 0], self.start(tokens[:, 0]))
        time = ops.arange(t - 1)

        def body(i, carry):
            cache, pasts = carry
            frame, row = (ops.take(x, i, axis=1) for x in (decoded, tokens))
            cache = self.see_frame(frame, row, cache)
            pasts = keras.tree.map_structure(
                lambda new, old: ops.where(
                    ops.reshape(time == i, (-1, *[1] * (new.ndim - 1))),
                    new[:, None],
                    old,
                ),
                cache,
                pasts,
            )
            return cache, pasts

        pasts = keras.tree.map_structure(
            lambda x: ops.broadcast_to(x[:, None], (b, t - 1, *x.shape[1:])), first
        )
        return Past(**ops.fori_loop(1, t - 1, body, (first, pasts))[1])

    def shift_logits(self, past: Past, action):
        """Return logits of the next shift, float32 (b, num_shifts).

        Args:
            past: the past.
            action: (b, action_dim), the action that leads to the next frame.
        """
        last = self.patches_of(view(past.canvas, self.margin)[0])
        before = self.patches_of(ops.cast(past.before, "float32") / 255)
        patches = self.motion_embedding(
            ops.concatenate([last - 0.5, last - before], axis=-1)
        )
        places = ops.arange(_PAST) * num_shifts(self.reach)
        own = ops.sum(self.past_shifts(past.shifts + places), axis=1)
        own = own + self.motion_action(action)
        inputs = ops.concatenate([own[:, None], patches], axis=1)
        logits = self.to_shift(self.motion(inputs[:, None])[:, 0, 0])
        return ops.cast(logits, "float32")

    def see(self, past: Past, shift, action):
        """Return what is known of the next frame's patches once its shift is known.

        Args:
            past, action: see `shift_logits`.
            shift: int (b,), of the next frame.

        Returns:
            Inputs of the painter, (b, n, dim); and which patches have pixels that were
            never in view, bool (b, n).
        """
        last, _ = view(past.canvas, self.margin)
        dy, dx = moves(shift, self.reach)
        moved, known = predict_view(past.canvas, dy, dx, self.margin)
        dy_before, dx_before = moves(past.shifts[:, 0], self.reach)
        before = ops.cast(past.before, "float32") / 255
        older, _ = shift_frames(before, dy + dy_before, dx + dx_before)
        moved, stayed, older, known = map(self.patches_of, (moved, last, older, known))
        patches = self.copy_embedding(
            ops.concatenate(
                [moved - 0.5, stayed - moved, moved - older, known], axis=-1
            )
        )
        steering = self.painter_action(action) + self.shift_embedding(shift)
        return patches + steering[:, None], ops.min(known, axis=-1) == 0

    def patches_of(self, frames):
        return patchify_frames(frames, self.patch_size)

    def features(self, seen, mode, codes, known):
        """Return features of patches, (b, n, dim).

        Args:
            seen: from `see`.
            mode: int (b, n), `_HIDDEN` where unknown.
            codes: int (b, n, d), as in `DeltaTokens`.
            known: bool (b, n), whether codes are known.
        """
        known = ops.cast(known, seen.dtype)[..., None]
        vectors = ops.reshape(
            self.vectors(codes), (-1, self.num_patches, self.depth * self.code_dim)
        )
        inputs = ops.concatenate([vectors * known, known], axis=-1)
        tokens = self.mode_embedding(mode) + self.code_embedding(inputs)
        return self.painter((seen + tokens)[:, None])[:, 0]

    def vectors(self, codes):
        """Return the vectors of codes, (..., d, code_dim)."""
        places = ops.arange(self.depth) * self.num_codes
        return self.table(ops.maximum(codes - 1, 0) + places)

    def digit_logits(self, features, level: int, vectors):
        """Return logits of the digits of each patch's code, given the codes before.

        Args:
            features: from `features`.
            level: index of the code, below `depth`.
            vectors: (b, n, d, code_dim); only those before `level` are used.

        Returns:
            float32 (b, n, sum of levels), digit after digit.
        """
        before = [vectors[:, :, k] for k in range(level)]
        hidden = self.to_hidden[level](ops.concatenate([features, *before], axis=-1))
        logits = self.to_digits[level](ops.gelu(hidden, approximate=True))
        return ops.cast(logits, "float32")

    def split_digits(self, logits) -> list:
        """Return the logits of each digit."""
        return ops.split(logits, np.cumsum(self.levels)[:-1].tolist(), axis=-1)

    def scored_codes(self, change: DeltaTokens, batch):
        """Return a mask of the patches whose codes are predicted, bool (b, t-1, n)."""
        all_modes = ops.all(batch["known_modes"], axis=-1, keepdims=True)
        return change.drawn & all_modes & ~batch["known_codes"]

    def _scores(self, tokens, logits, batch) -> dict:
        """Return nats of each part of a change, and how many tokens they are for, both
        float32 (b, t-1)."""
        change = unpack(tokens[:, 1:], *self._sizes)
        codes = ops.maximum(change.codes - 1, 0)
        nats = sum(
            cross_entropy(codes // place % size, digit)
            for digit, place, size in zip(
                self.split_digits(logits["digits"]),
                self._place_values,
                self.levels,
                strict=True,
            )
        )
        scored = ops.cast(self.scored_codes(change, batch), "float32")
        hidden = 1 - ops.cast(batch["known_modes"], "float32")
        mode = ops.sum(hidden * cross_entropy(change.mode, logits["mode"]), axis=-1)
        return {
            "shift_nats": (
                cross_entropy(change.shift, logits["shift"]),
                ops.ones_like(hidden[..., 0]),
            ),
            "mode_nats": (mode, ops.sum(hidden, axis=-1)),
            "code_nats": (
                ops.sum(ops.sum(nats, axis=-1) * scored, axis=-1),
                ops.sum(scored, axis=-1),
            ),
        }

    @property
    def _place_values(self):
        return np.cumprod([1, *self.levels[:-1]]).tolist()

    def loss_and_metrics(self, tokens, logits, batch):
        """Return a dict of scalars: the loss, and means of `token_scores`.

        The loss is in nats per change. It weighs shifts more: there is one in a frame,
        and all patches depend on it.
        """
        scores = self._scores(tokens, logits, batch)
        shift, mode, codes = (ops.mean(nats) for nats, _ in scores.values())
        means = {name: ops.mean(x) for name, x in _per_token(scores).items()}
        return {"loss": 6 * shift + 2 * mode + codes, **means}

    def token_scores(self, tokens, logits, batch):
        """Return nats of each clip: `shift_nats`, per frame, `mode_nats`, per patch, and
        `code_nats`, per drawn patch."""
        return _per_token(self._scores(tokens, logits, batch))

    def likeliest(self, tokens, logits, batch):
        """Return the tokens, with the likeliest codes wherever the loss counts codes."""
        change = unpack(tokens[:, 1:], *self._sizes)
        digits = self.split_digits(logits["digits"])
        codes = 1 + sum(
            place * ops.cast(ops.argmax(x, axis=-1), "int32")
            for x, place in zip(digits, self._place_values, strict=True)
        )
        scored = self.scored_codes(change, batch)[..., None]
        codes = ops.where(scored, codes, change.codes)
        return ops.concatenate(
            [tokens[:, :1], change._replace(codes=codes).pack()], axis=1
        )

    def start(self, tokens):
        b = ops.shape(tokens)[0]
        return Past(
            blank_canvas(b, self.frame_shape, self.margin),
            ops.zeros((b, *self.frame_shape), "uint8"),
            ops.full((b, _PAST), still(self.reach), "int32"),
        )._asdict()

    def see_frame(self, frame, tokens, cache):
        shift = unpack(tokens, *self._sizes).shift
        last, known = view(cache["canvas"], self.margin)
        # There is no frame before the first.
        before = ops.cast(ops.round(255 * ops.where(known > 0, last, frame)), "uint8")
        canvas = paint(move_canvas(cache["canvas"], *moves(shift, self.reach)), frame)
        shifts = ops.concatenate([shift[:, None], cache["shifts"][:, :-1]], axis=1)
        return {"canvas": canvas, "before": before, "shifts": shifts}

    def add_frame(self, tokens, action, cache, position):
        return cache  # `see_frame` follows.

    def sample_frame(self, action, cache, position, key, sampling, grid):
        past, temperature = Past(**cache), sampling["temperature"]
        logits = self.shift_logits(past, action)
        shift = draw_categorical(logits[:, None], fold(key, 0), temperature)[:, 0]
        seen, new = self.see(past, shift, action)
        n = self.num_patches
        codes = ops.zeros((ops.shape(shift)[0], n, self.depth), "int32")
        steps = sampling["num_steps"]
        order = uniform(fold(key, 1), n) * ops.cast(steps, "float32")
        turn = ops.cast(ops.floor(order), "int32")
        nothing = ops.zeros_like(turn, "bool")

        def draw_modes(step, mode):
            features = self.features(seen, mode, codes, nothing)
            key_now = fold(key, 2 + 2 * step)
            logits = ops.cast(self.to_mode(features), "float32")
            drawn = draw_categorical(logits, key_now, temperature)
            return ops.where(turn == step, drawn, mode)

        hidden = ops.full_like(turn, _HIDDEN)
        mode = ops.fori_loop(0, steps, draw_modes, hidden)
        drawn = (mode == DRAWN) | ((mode == MOVED) & new)

        def draw_codes(step, codes):
            features = self.features(seen, mode, codes, drawn & (turn < step))
            more = self.draw_codes(features, fold(key, 3 + 2 * step), temperature)
            return ops.where((drawn & (turn == step))[..., None], more, codes)

        codes = ops.fori_loop(0, steps, draw_codes, codes)
        return DeltaTokens(shift, mode, codes).pack(), cache

    def draw_codes(self, features, key, temperature):
        """Return draws of all codes of all patches, int32 (b, n, d)."""
        vectors, codes = self.vectors(ops.zeros((1, 1, self.depth), "int32")), []
        shape = (*ops.shape(features)[:2], *vectors.shape[2:])
        vectors = ops.broadcast_to(vectors, shape)
        for level in range(self.depth):
            digits = self.split_digits(self.digit_logits(features, level, vectors))
            codes.append(
                1
                + sum(
                    place
                    * draw_categorical(
                        logits, fold(key, 100 * (level + 1) + i), temperature
                    )
                    for i, (logits, place) in enumerate(
                        zip(digits, self._place_values, strict=True)
                    )
                )
            )
            here = (ops.arange(self.depth) == level)[:, None]
            vectors = ops.where(
                here, self.vectors(ops.stack([codes[-1]] * self.depth, -1)), vectors
            )
        return ops.stack(codes, axis=-1)

    def cache_bytes(self, arguments):
        frame_shape = arguments["frame_shape"]
        canvas = canvas_bytes(frame_shape, arguments["margin"])
        return canvas + math.prod(frame_shape) + 4 * _PAST

    def layer_calls(self, frames: int):
        changes, n = frames - 1, self.num_patches
        return [
            LayerCall(self.motion_embedding, changes, n, input_gradient=False),
            LayerCall(self.motion, changes, n + 1),
            LayerCall(self.to_shift, changes, 1, is_classifier=True),
            LayerCall(self.copy_embedding, changes, n, input_gradient=False),
            LayerCall(self.code_embedding, changes, n),
            LayerCall(self.painter, changes, n),
            *(LayerCall(layer, changes, n) for layer in self.to_hidden),
            *(
                LayerCall(layer, changes, n, is_classifier=True)
                for layer in self.to_digits
            ),
        ]

    def arguments(self):
        return {
            "frame_shape": self.frame_shape,
            "patch_size": self.patch_size,
            "levels": self.levels,
            "code_dim": self.code_dim,
            "depth": self.depth,
            "reach": self.reach,
            "margin": self.margin,
            "action_dim": self.action_dim,
            "motion": self.motion.arguments(),
            "painter": self.painter.arguments(),
            "error_rates": self.error_rates,
        }


def _draw_rates(rng: np.random.Generator, changes: int) -> np.ndarray:
    """Return shares of known patches, (changes, 1), zero in 40% of the changes."""
    return rng.random((changes, 1)) * (rng.random((changes, 1)) > 0.4)


def _per_token(scores: dict) -> dict:
    """Return the nats of each clip per token, float32 (b,), from `_scores`."""
    return {
        name: ops.sum(nats, 1) / ops.maximum(ops.sum(count, 1), 1)
        for name, (nats, count) in scores.items()
    }


def cross_entropy(targets, logits):
    """Return -log p of targets in nats, of the targets' shape."""
    return keras.losses.sparse_categorical_crossentropy(targets, logits, True)
