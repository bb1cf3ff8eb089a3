"""Tokenizer of changes: what moved, what stays and what is new in each frame.

Axes: b batch, t time, n patches, d depth (codes of a patch).
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from genie_tf.layers import (
    STTransformer,
    check_frame_shape,
    check_number,
    check_whole,
    make_quantizer,
    patch_grid,
    patchify_frames,
    quantizer_class,
    unpatchify,
)
from genie_tf.layers.canvas import (
    blank_canvas,
    canvas_bytes,
    move_canvas,
    paint,
    predict_view,
    view,
)
from genie_tf.layers.motion import (
    find_shift,
    moves,
    shift_errors,
    still,
)
from genie_tf.metrics.image_quality import psnr
from genie_tf.models.delta_tokens import (
    DRAWN,
    MOVED,
    STAYED,
    DeltaTokens,
    tokens_per_frame,
    unpack,
)
from genie_tf.models.layer_calls import calls_for_each_patch
from genie_tf.models.preprocessing import to_unit_range
from genie_tf.models.tokenizer import Tokenizer

# A drawing must leave less than this share of a copy's error, or the patch is copied.
_WORTH_DRAWING = 0.7
# What a patch's error counts at most in the search of a shift: 19 dB.
_LARGEST_ERROR = 0.0125


class Copies(NamedTuple):
    """Pixels that a frame can copy, patches (b, n, pixels) each.

    Attributes:
        moved: the picture after its shift.
        stayed: the picture in its place.
        known: which pixels of `moved` were in view before, 1 or 0.
    """

    moved: Any
    stayed: Any
    known: Any

    def as_input(self):
        """Return the copies as input of a network."""
        parts = self.moved - 0.5, self.stayed - self.moved, self.known
        return ops.concatenate(parts, axis=-1)


@keras.saving.register_keras_serializable("genie_tf")
class DeltaTokenizer(Tokenizer):
    """Tokenizer that maps each frame to a change of the frame before, as decoded.

    The picture makes one shift, found by trying all. Each patch then is a copy of the
    shifted picture, or of the picture in its place, pixel for pixel, if that is close
    enough; else it is drawn, from `depth` codes and the copies around it. A copy does
    not fade, however often it is copied, and what left the view is remembered on a
    canvas. The first frame is given, as in Delta-IRIS (Micheli et al. 2024).

    Args:
        frame_shape: (height, width, channels) of a frame.
        patch_size: side of a patch in pixels.
        num_codes: size of the vocabulary of a code.
        code_dim: width of a code.
        depth: codes of a drawn patch.
        encoder, decoder: arguments of the `STTransformer`, with `attention` "space".
        quantizer: see `make_quantizer`.
        reach: the largest shift in pixels, down and to the side.
        margin: pixels around the view that are remembered.
        tolerance: mean squared error below which a copy is close enough.

    Call arguments:
        video: (b, t, height, width, channels), uint8, or float in [0, 1].

    Returns:
        A dict: `reconstruction`, float32 in [0, 1], of the video's shape, with the first
        frame as given; `indices`, packed `DeltaTokens`, int32 (b, t, tokens).

    Raises:
        ValueError: if a transformer does not have `attention` "space", or `reach` does
            not fit the frame.

    Example:

    ```python
    space = {"dim": 32, "num_blocks": 2, "num_heads": 2, "attention": "space"}
    tokenizer = DeltaTokenizer((64, 64, 3), 8, 64, 8, 2, space, space)
    tokens = tokenizer.tokenize(video)  # int32 (b, t, 193)
    video = tokenizer.detokenize(tokens, video[:, 0])  # float32 in [0, 1]
    ```
    """

    needs_first_frame = True
    grid_shape = None
    layer_classes = {
        "encoder": lambda _: STTransformer,
        "decoder": lambda _: STTransformer,
        "quantizer": quantizer_class,
    }

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        patch_size: int,
        num_codes: int,
        code_dim: int,
        depth: int,
        encoder: dict,
        decoder: dict,
        quantizer: dict | None = None,
        reach: tuple[int, int] = (8, 4),
        margin: int = 32,
        tolerance: float = 1.5e-3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_frame_shape(frame_shape)
        check_whole(patch_size=patch_size, num_codes=num_codes, code_dim=code_dim)
        check_whole(depth=depth)
        check_whole(margin=margin, least=0)
        check_reach(reach, frame_shape)
        check_number(tolerance=tolerance)
        check_space("DeltaTokenizer", encoder=encoder, decoder=decoder)
        self.frame_shape = tuple(frame_shape)
        self.patch_size = patch_size
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.depth = depth
        self.quantizer_arguments = dict(quantizer or {})
        self.reach = tuple(reach)
        self.margin = margin
        self.tolerance = tolerance
        self.grid = patch_grid(*self.frame_shape[:2], patch_size)
        policy = {"dtype": self.dtype_policy}
        self.encoder = STTransformer(**encoder, **policy)
        self.decoder = STTransformer(**decoder, **policy)
        self.frame_embedding = keras.layers.Dense(self.encoder.dim, **policy)
        self.to_latents = keras.layers.Dense(depth * code_dim, **policy)
        self.quantizer = make_quantizer(num_codes, code_dim, quantizer)
        if getattr(self.quantizer, "dropout", 0):
            raise ValueError(
                "A DeltaTokenizer cannot drop codes: the `dropout` of its quantizer must "
                f"be 0; received {self.quantizer.dropout}."
            )
        self.copy_embedding = keras.layers.Dense(self.decoder.dim, **policy)
        self.code_embedding = keras.layers.Dense(self.decoder.dim, **policy)
        # Initialized to zero: the untrained drawing is the copy.
        self.to_change = keras.layers.Dense(
            patch_size**2 * self.frame_shape[-1], kernel_initializer="zeros", **policy
        )
        self.build(None)

    def build(self, input_shape):
        pixels = self.patch_size**2 * self.frame_shape[-1]
        copies = 2 * pixels + self.patch_size**2
        for layer, width in (
            (self.frame_embedding, pixels + copies),
            (self.encoder, self.encoder.dim),
            (self.to_latents, self.encoder.dim),
            (self.quantizer, self.code_dim),
            (self.copy_embedding, copies),
            (self.code_embedding, self.depth * self.code_dim + 1),
            (self.decoder, self.decoder.dim),
            (self.to_change, self.decoder.dim),
        ):
            layer.build((None, 1, self.num_patches, width))

    @property
    def num_tokens(self) -> int:
        return tokens_per_frame(self.num_patches, self.depth)

    @property
    def sees_one_frame(self) -> bool:
        return False

    def call(self, video):
        tokens, decoded = self.tokenize_and_decode(video)
        return {"reconstruction": decoded, "indices": tokens}

    def tokenize(self, video):
        return self.tokenize_and_decode(video)[0]

    def tokenize_and_decode(self, video, errors=None):
        tokens, canvases = self._code_video(to_unit_range(video), errors)
        return tokens, self._show(canvases)

    def detokenize(self, tokens, first=None):
        _, canvases = self._run(
            to_unit_range(first),
            ops.shape(tokens)[1],
            lambda i, canvas: ops.take(tokens, i, axis=1),
        )
        return self._show(canvases)

    def _code_video(self, video, errors=None):
        """Return the tokens of each frame after the decoded one before.

        Args:
            video: float (b, t, height, width, channels).
            errors: see `Tokenizer.tokenize_and_decode`.

        Returns:
            Tokens, int32 (b, t, tokens), and canvases after each frame, uint8 (b, t,
            height, width, channels).
        """

        def encode(i, canvas):
            return self._encode_frame(canvas, ops.take(video, i, axis=1))

        def spoil(i, tokens):
            return self._spoil(tokens, ops.take(errors, i - 1, axis=1))

        frames = ops.shape(video)[1]
        return self._run(video[:, 0], frames, encode, None if errors is None else spoil)

    def _spoil(self, tokens, errors):
        """Return tokens with errors, as a dynamics makes them.

        Half of the drawn patches with an error are copied from the shifted picture, as
        the trail of a figure that walked on; the others have their neighbor's codes.

        Args:
            tokens: int32 (b, tokens).
            errors: bool (b, n).
        """
        change = unpack(tokens, self.num_patches, self.depth)
        errors = errors & change.drawn
        copied = ops.arange(self.num_patches) % 2 == 0
        mode = ops.where(errors & copied, MOVED, change.mode)
        codes = ops.where(
            (errors & ~copied)[..., None], ops.roll(change.codes, 1, 1), change.codes
        )
        return DeltaTokens(change.shift, mode, codes).pack()

    def _run(self, first, frames, choose_tokens, spoil=None):
        """Decode frame after frame.

        Args:
            first: float (b, height, width, channels), the first frame.
            frames: number of frames, this one included.
            choose_tokens: function of the index of a frame and the canvas before, to
                the frame's tokens, int32 (b, tokens).
            spoil: function of that index and those tokens, to the tokens to decode; the
                same by default.

        Returns:
            See `_code_video`.
        """
        b = ops.shape(first)[0]
        _, canvas = self.detokenize_first(None, first)
        unchanged = DeltaTokens(
            ops.full((b,), still(self.reach)),
            ops.full((b, self.num_patches), MOVED),
            ops.zeros((b, self.num_patches, self.depth)),
        ).pack()
        time = ops.arange(frames)

        def body(i, carry):
            canvas, tokens, canvases = carry
            new = choose_tokens(i, canvas)
            decoded = new if spoil is None else spoil(i, new)
            _, canvas = self.detokenize_step(decoded, canvas, None)
            return (
                canvas,
                ops.where((time == i)[:, None], new[:, None], tokens),
                ops.where((time == i)[:, None, None, None], canvas[:, None], canvases),
            )

        tokens, canvases = (
            ops.broadcast_to(x[:, None], (b, frames, *x.shape[1:]))
            for x in (unchanged, canvas)
        )
        _, tokens, canvases = ops.fori_loop(1, frames, body, (canvas, tokens, canvases))
        return tokens, canvases

    def _show(self, canvases):
        """Return the video on canvases (b, t, height, width, channels)."""
        frames, _ = view(ops.reshape(canvases, (-1, *canvases.shape[2:])), self.margin)
        return ops.reshape(frames, (-1, ops.shape(canvases)[1], *self.frame_shape))

    def _encode_frame(self, canvas, frame):
        """Return the packed tokens of a frame, int32 (b, tokens).

        Patches that a drawing makes little better are copied after all.
        """
        shift = self.find_shift(canvas, frame)
        copies = self.copies(canvas, shift)
        mode = self.choose_modes(copies, frame)
        codes = self.encode(copies, frame)
        made = self.decode(copies, mode, codes["quantized"])
        target = self.patches_of(frame)
        by_moving = self._error_where_known(target, copies)
        by_staying, by_drawing = (
            ops.mean((x - target) ** 2, axis=-1)
            for x in (copies.stayed, ops.clip(made, 0, 1))
        )
        least = ops.minimum(by_moving, by_staying)
        copy = ops.where(by_staying < _WORTH_DRAWING * by_moving, STAYED, MOVED)
        worth = by_drawing < _WORTH_DRAWING * least
        mode = ops.where((mode == DRAWN) & ~worth, copy, mode)
        drawn = ops.max(drawn_pixels(mode, copies.known), axis=-1, keepdims=True)
        indices = ops.cast(drawn, "int32") * (codes["indices"] + 1)
        return DeltaTokens(shift, mode, indices).pack()

    def find_shift(self, canvas, frame):
        """Return the shift of most of the picture, int32 (b,)."""
        last, _ = view(canvas, self.margin)
        errors = shift_errors(last, frame, self.reach, self.patch_size)
        pixels = self.patch_size**2 * self.frame_shape[-1]
        return find_shift(errors / pixels, self.reach, _LARGEST_ERROR)

    def copies(self, canvas, shift) -> Copies:
        """Return what the next frame can copy.

        Args:
            canvas: uint8 (b, height, width, channels), see `genie_tf.layers.canvas`.
            shift: int (b,).
        """
        dy, dx = moves(shift, self.reach)
        moved, known = predict_view(canvas, dy, dx, self.margin)
        stayed, _ = view(canvas, self.margin)
        return Copies(*(self.patches_of(x) for x in (moved, stayed, known)))

    def patches_of(self, frames):
        return patchify_frames(frames, self.patch_size)

    def choose_modes(self, copies: Copies, frame):
        """Return the mode of each patch of a frame, int32 (b, n).

        What could move or stay moves: rare modes make the others easy to predict.
        """
        target = self.patches_of(frame)
        moved = self._error_where_known(target, copies)
        stayed = ops.mean((target - copies.stayed) ** 2, axis=-1)
        copy = ops.where(stayed < self.tolerance, STAYED, DRAWN)
        return ops.where(moved < self.tolerance, MOVED, copy)

    def encode(self, copies: Copies, frame):
        """Return the codes of all patches of a frame, outputs of `VectorQuantizer` for
        latents (b, n, d, code_dim)."""
        change = self.patches_of(frame) - copies.moved
        x = ops.concatenate([change, copies.as_input()], axis=-1)[:, None]
        latents = self.to_latents(self.encoder(self.frame_embedding(x)))
        shape = -1, self.num_patches, self.depth, self.code_dim
        return self.quantizer(ops.reshape(latents, shape))

    def decode(self, copies: Copies, mode, codes):
        """Return the patches of a frame, float32 (b, n, pixels), not clipped.

        Args:
            copies: see `copies`.
            mode: int (b, n).
            codes: float (b, n, d, code_dim), used where pixels are drawn.
        """
        drawn = drawn_pixels(mode, copies.known)
        coded = ops.max(drawn, axis=-1, keepdims=True)
        codes = ops.reshape(codes, (-1, self.num_patches, self.depth * self.code_dim))
        codes = ops.concatenate([codes * coded, coded], axis=-1)
        x = self.copy_embedding(copies.as_input()) + self.code_embedding(codes)
        change = self.to_change(self.decoder(x[:, None])[:, 0])
        change = ops.repeat(drawn, self.frame_shape[-1], axis=-1) * change
        stays = (mode == STAYED)[..., None]
        return ops.where(stays, copies.stayed, copies.moved + change)

    def _error_where_known(self, target, copies):
        """Return the mean squared error of moved patches, (b, n)."""
        known = ops.repeat(copies.known, self.frame_shape[-1], axis=-1)
        error = ops.sum(known * (target - copies.moved) ** 2, axis=-1)
        return error / ops.maximum(ops.sum(known, axis=-1), 1)

    def lookup(self, tokens):
        return self.quantizer.lookup(tokens)

    def codes_in(self, tokens):
        return tokens[..., 1 + self.num_patches :] - 1

    def empty_cache(self, batch: int):
        return blank_canvas(batch, self.frame_shape, self.margin)

    def detokenize_first(self, tokens, frame):
        canvas = paint(self.empty_cache(ops.shape(frame)[0]), to_unit_range(frame))
        return view(canvas, self.margin)[0], canvas

    def detokenize_step(self, tokens, cache, position):
        shift, mode, codes = unpack(tokens, self.num_patches, self.depth)
        copies = self.copies(cache, shift)
        codes = self.lookup(ops.maximum(codes - 1, 0))
        patches = self.decode(copies, mode, codes)
        frame = unpatchify(patches[:, None], self.patch_size, *self.frame_shape[:2])
        moved = move_canvas(cache, *moves(shift, self.reach))
        canvas = paint(moved, frame[:, 0])
        return view(canvas, self.margin)[0], canvas

    def losses_and_metrics(self, batch):
        """Return loss and metrics of drawn pixels, each frame after the decoded ones.

        The loss is squared error, with a little absolute error.
        """
        video = to_unit_range(batch["video"])
        # Frame by frame without a gradient, then all frames at once with one.
        tokens, canvases = map(ops.stop_gradient, self._code_video(video))
        frame = ops.reshape(video[:, 1:], (-1, *self.frame_shape))
        canvas = ops.reshape(canvases[:, :-1], (-1, *canvases.shape[2:]))
        copies = self.copies(canvas, ops.reshape(tokens[:, 1:, 0], (-1,)))
        mode = self.choose_modes(copies, frame)
        codes = self.encode(copies, frame)
        error = self.decode(copies, mode, codes["quantized"]) - self.patches_of(frame)
        drawn = ops.mean(drawn_pixels(mode, copies.known), axis=-1, keepdims=True)
        loss = ops.mean(error**2 + 0.03 * ops.abs(error)) + codes["loss"]
        metrics = {
            "loss": loss,
            "psnr": ops.mean(psnr(video[:, 1:], self._show(canvases)[:, 1:])),
            "drawn": ops.mean(drawn),
        }
        indices = ops.where(drawn > 0, codes["indices"], -1)
        return metrics, self.quantizer.codebook_stats({**codes, "indices": indices})

    def cache_bytes(self, arguments):
        return canvas_bytes(arguments["frame_shape"], arguments["margin"])

    def encoder_calls(self, frames: int):
        # Each frame is decoded twice, see `_encode_frame`.
        encoder = self.frame_embedding, self.encoder, self.to_latents, self.quantizer
        decoder = self.copy_embedding, self.code_embedding, self.decoder, self.to_change
        layers = (*encoder, *decoder, *decoder)
        return calls_for_each_patch(layers, frames - 1, self.num_patches)

    def layer_calls(self, frames: int):
        calls = self.encoder_calls(frames)
        first, last = self.frame_embedding, self.to_change
        trained = [
            call._replace(
                input_gradient=call.layer not in (first, self.copy_embedding),
                squared_error=call.layer is last,
            )
            for call in calls[:-4]
        ]
        return [*trained, *(call._replace(trained=False) for call in calls)]

    def arguments(self):
        return {
            "frame_shape": self.frame_shape,
            "patch_size": self.patch_size,
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "depth": self.depth,
            "encoder": self.encoder.arguments(),
            "decoder": self.decoder.arguments(),
            "quantizer": self.quantizer_arguments,
            "reach": self.reach,
            "margin": self.margin,
            "tolerance": self.tolerance,
        }


def drawn_pixels(mode, known):
    """Return which pixels are drawn, float (b, n, patch_size**2), 1 or 0.

    Args:
        mode: int (b, n).
        known: see `Copies`.
    """
    new = ops.where((mode == MOVED)[..., None], 1 - known, 0.0)
    return ops.where((mode == DRAWN)[..., None], 1.0, new)


def check_reach(reach, frame_shape) -> None:
    """Raise a ValueError unless a reach is two whole numbers within a frame."""
    pair = isinstance(reach, (tuple, list)) and len(reach) == 2
    for most in reach if pair else ():
        check_whole(reach=most, least=0)
    if not pair or reach[0] >= frame_shape[0] or reach[1] >= frame_shape[1]:
        raise ValueError(
            "`reach` must be the largest shift down and to the side, in pixels, smaller "
            f"than a frame of {frame_shape[0]}x{frame_shape[1]}; received "
            f"{reach!r:.100}."
        )


def check_space(owner: str, **transformers: dict) -> None:
    """Raise a ValueError unless each transformer attends within a frame only."""
    for name, arguments in transformers.items():
        if arguments.get("attention") != "space":
            raise ValueError(
                f'The {name} of a {owner} must have `attention` "space"; received '
                f"{arguments.get('attention', 'st')!r}."
            )
