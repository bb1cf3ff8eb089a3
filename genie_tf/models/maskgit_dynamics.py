"""MaskGIT dynamics model, the one of Genie.

Axes: b batch, t time, n patches.
"""

import keras
from keras import ops

from genie_tf.layers import STTransformer, check_choice, check_flag, check_whole
from genie_tf.layers.arguments import is_share_range
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.layer_calls import LayerCall
from genie_tf.samplers.maskgit_sampler import sample_frame
from genie_tf.sampling_settings import (
    CHOICE_TEMPERATURE,
    NUM_STEPS,
    ORDER,
    TEMPERATURE,
    TOP_K,
    with_defaults,
)

# Initial logit of the previous token, for unit codes, minus that of an orthogonal one.
_COPY_SHARPNESS = 16.0


@keras.saving.register_keras_serializable("genie_tf")
class MaskGitDynamics(Dynamics):
    """MaskGIT over the tokens of a video, conditioned on actions (section 2.1).

    By default, the embedding of a token includes the previous token at its patch, and
    the output is a change of that token's code: the model does not have to learn to
    copy. One small embedding table is used for input and output: logits are dot products
    with it. It can start as the tokenizer's codebook, so similar codes are similar from
    the first step.

    The dynamics of the papers (Genie, Jafar, GenieRedux) has `sees_previous=False` and
    `predicts="token"`: it sees masked tokens and actions only, and a dense layer
    classifies each token.

    A call reads `mask` from the batch, bool (b, t, n), true where a token is masked.

    Args:
        num_codes: size of the token vocabulary.
        num_patches: tokens per frame.
        action_dim: width of an action vector.
        transformer: arguments of the `STTransformer`.
        code_dim: width of the embedding table, if it predicts changes.
        conditioning: how an action enters the frame it leads to: "add", projected and
            added to the embedding of each patch (Genie); "concat", unprojected, next to
            a narrower embedding of each patch (GenieRedux-G); "token", projected, as an
            additional token of the frame (Jasmine).
        mask_rates: smallest and largest share of a clip's patches masked in training.
        sees_previous: whether a token enters together with the previous token at its
            patch, which is never masked.
        predicts: "change", the change of the previous token's code, compared with the
            codes of the small table; or "token", by a dense classifier over the codes. The
            table is then as wide as an embedded patch, and used for the input only.

        sampling: default values of sampling settings, such as {"num_steps": 25}; see
            `sampling_settings.py`.

    Raises:
        ValueError: if `conditioning` or `predicts` is unknown, "concat" leaves patches
            no width, or a sampling setting is invalid.

    Example:

    ```python
    transformer = {"dim": 32, "num_blocks": 2, "num_heads": 2}
    dynamics = MaskGitDynamics(
        num_codes=64, num_patches=16, action_dim=8, transformer=transformer
    )
    ```
    """

    layer_classes = {"transformer": lambda _: STTransformer}
    cached_layer = "transformer"
    sampling_settings = (NUM_STEPS, TEMPERATURE, TOP_K, CHOICE_TEMPERATURE, ORDER)

    def __init__(
        self,
        num_codes: int,
        num_patches: int,
        action_dim: int,
        transformer: dict,
        code_dim: int = 32,
        conditioning: str = "add",
        mask_rates: tuple[float, float] = (0.5, 1.0),
        sees_previous: bool = True,
        predicts: str = "change",
        sampling: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, num_patches=num_patches)
        check_whole(action_dim=action_dim, code_dim=code_dim)
        check_choice(("add", "concat", "token"), conditioning=conditioning)
        check_choice(("change", "token"), predicts=predicts)
        check_flag(sees_previous=sees_previous)
        self.mask_rates = check_rates(mask_rates)
        self.num_codes = num_codes
        self.num_patches = num_patches
        self.action_dim = action_dim
        self.code_dim = code_dim
        self.conditioning = conditioning
        self.sees_previous = sees_previous
        self.predicts = predicts
        self.sampling = dict(sampling or {})
        self.sampling_settings = with_defaults(
            type(self).sampling_settings, self.sampling, "A MaskGitDynamics"
        )
        policy = {"dtype": self.dtype_policy}
        self.transformer = STTransformer(**transformer, **policy)
        width = patch_width(conditioning, action_dim, self.transformer.dim)
        table_width = code_dim if predicts == "change" else width
        # The last row is the mask token, which is never a target.
        self.table = keras.layers.Embedding(num_codes + 1, table_width, **policy)
        self.token_embedding = (
            keras.layers.Dense(width, **policy)
            if sees_previous or predicts == "change"
            else keras.layers.Identity(**policy)
        )
        self.action_embedding = (
            keras.layers.Identity(**policy)
            if conditioning == "concat"
            else keras.layers.Dense(width, **policy)
        )
        if predicts == "change":
            # Initialized to zero: the untrained prediction is no change.
            self.to_change = keras.layers.Dense(
                code_dim, kernel_initializer="zeros", **policy
            )
        else:
            self.to_logits = keras.layers.Dense(num_codes, **policy)
        self.build(None)

    def build(self, input_shape):
        table_width, n = self.table.output_dim, self.num_patches
        for layer, *shape in (
            (self.table, n),
            (self.token_embedding, n, (1 + self.sees_previous) * table_width),
            (self.action_embedding, self.action_dim),
            (self.transformer, self.num_entering, self.transformer.dim),
            (self.head, n, self.transformer.dim),
        ):
            layer.build((None, None, *shape))

    @property
    def head(self) -> keras.layers.Dense:
        """Layer that maps the transformer's features to changes or logits."""
        return self.to_change if self.predicts == "change" else self.to_logits

    @property
    def num_entering(self) -> int:
        """Tokens of a frame that enter the transformer."""
        return self.num_patches + (self.conditioning == "token")

    @classmethod
    def for_world(cls, tokenizer, action_dim, arguments):
        # The table starts as the tokenizer's codes.
        return super().for_world(
            tokenizer, action_dim, {"code_dim": tokenizer.code_dim, **arguments}
        )

    @property
    def cached_tokens(self) -> int:
        return self.num_entering

    def start_from(self, codes) -> None:
        if self.predicts == "token":
            return  # Its table has another width.
        rows = ops.convert_to_numpy(self.table.embeddings).copy()
        rows[: self.num_codes] = codes
        self.table.embeddings.assign(rows)

    def training_inputs(self, rng, clip):
        """Return `mask`, with a rate drawn for each clip; frame 1 is never masked."""
        rate = rng.uniform(*self.mask_rates)
        mask = rng.random((len(clip["video"]), self.num_patches)) < rate
        mask[0] = False
        return {"mask": mask}

    def scored(self, tokens, batch):
        return batch["mask"]

    def call(self, tokens, actions, batch):
        hidden = self.hide(tokens, batch["mask"])
        # Previous tokens are never masked: in play, they are known.
        before = ops.pad(
            tokens[:, :-1], [(0, 0), (1, 0), (0, 0)], constant_values=self.num_codes
        )
        # Frame 1 has no action.
        steering = ops.pad(self.action_embedding(actions), [(0, 0), (1, 0), (0, 0)])
        embedded = self.embed(hidden, before, steering)
        return self.logits(self.transformer(embedded), before)

    def hide(self, tokens, mask):
        """Return tokens with the mask token where `mask` is true."""
        return ops.where(mask, self.num_codes, tokens)

    def embed(self, tokens, before, steering):
        """Return the inputs of the transformer.

        Args:
            tokens: int32 (b, t, n).
            before: int32 (b, t, n), the previous token at each patch.
            steering: (b, t, width), embedded actions, zero for the first frame.
        """
        patches = self.table(tokens)
        if self.sees_previous:
            patches = ops.concatenate([patches, self.table(before)], axis=-1)
        patches = self.token_embedding(patches)
        steering = steering[:, :, None]
        if self.conditioning == "add":
            return patches + steering
        if self.conditioning == "token":
            return ops.concatenate([steering, patches], axis=2)
        steering = ops.broadcast_to(
            steering, (*ops.shape(patches)[:3], self.action_dim)
        )
        return ops.concatenate([patches, steering], axis=-1)

    def logits(self, features, before):
        if self.conditioning == "token":
            features = features[:, :, 1:]
        if self.predicts == "token":
            return ops.cast(self.to_logits(features), "float32")
        codes = _COPY_SHARPNESS * self.table(before) + self.to_change(features)
        table = ops.cast(self.table.embeddings[: self.num_codes], "float32")
        return ops.matmul(ops.cast(codes, "float32"), ops.transpose(table))

    def start(self, tokens):
        b = ops.shape(tokens)[0]
        blocks, before = self.empty_cache(b)
        return {
            "blocks": blocks,
            "before": before,
            "tokens": tokens,
            "action": ops.zeros((b, self.action_dim)),
        }

    def add_frame(self, tokens, action, cache, position):
        cache = self._commit_frame(cache, position - 1)
        return {**cache, "tokens": tokens, "action": action}

    def sample_frame(self, action, cache, position, key, sampling, grid):
        cache = self._commit_frame(cache, position - 1)
        past = cache["blocks"], cache["before"]
        tokens = sample_frame(
            lambda tokens, masked: self.step(tokens, action, masked, past, position)[0],
            grid,
            key,
            sampling,
        )
        return tokens, {**cache, "tokens": tokens, "action": action}

    def _commit_frame(self, cache, position):
        """Return the cache with keys and values of the newest frame.

        Deferred until the next frame is requested: the newest might be the last.
        """
        past = cache["blocks"], cache["before"]
        known = ops.zeros_like(cache["tokens"], dtype="bool")
        _, entry = self.step(cache["tokens"], cache["action"], known, past, position)
        blocks, before = self.write(past, entry, position)
        return {**cache, "blocks": blocks, "before": before}

    def empty_cache(self, batch: int):
        """Return an empty cache for `step`: of the transformer, and previous tokens."""
        before = ops.full((batch, self.num_patches), self.num_codes, dtype="int32")
        return self.transformer.empty_cache(batch, self.num_entering), before

    def step(self, tokens, action, mask, cache, position):
        """Return the logits of one frame over a cached past.

        Args:
            tokens: int32 (batch, patches), the frame at `position`.
            action: (batch, action_dim), the action that leads to this frame; ignored
                for the first.
            mask: bool (batch, patches).
            cache: from `empty_cache`, or from `write` with the frame before.
            position: int (batch,), position in each video, 0 for the first frame.

        Returns:
            Logits, float32 (batch, patches, num_codes), and the entry of the frame, for
            `write`.
        """
        cache, before = cache
        hidden = self.hide(tokens, mask)
        steering = self.action_embedding(action)
        steering = ops.where(position[:, None] > 0, steering, 0)
        embedded = self.embed(hidden[:, None], before[:, None], steering[:, None])
        features, entry = self.transformer.step(embedded, cache, position)
        return self.logits(features, before[:, None])[:, 0], (entry, hidden)

    def write(self, cache, entry, position):
        """Return the cache with the entry of an unmasked frame added, from `step`."""
        entry, tokens = entry
        return self.transformer.write(cache[0], entry, position), tokens

    def layer_calls(self, frames: int):
        n = self.num_patches
        if self.predicts == "change":
            classifier = [
                LayerCall(self.to_change, frames, n),
                LayerCall(self.table, frames, n, is_classifier=True),
            ]
        else:
            classifier = [LayerCall(self.to_logits, frames, n, is_classifier=True)]
        calls = [
            LayerCall(self.token_embedding, frames, n),
            LayerCall(self.transformer, frames, self.num_entering),
            *classifier,
        ]
        if self.conditioning != "concat":
            calls.append(
                LayerCall(self.action_embedding, frames - 1, 1, input_gradient=False)
            )
        return calls

    def arguments(self):
        return {
            "num_codes": self.num_codes,
            "num_patches": self.num_patches,
            "action_dim": self.action_dim,
            "transformer": self.transformer.arguments(),
            "code_dim": self.code_dim,
            "conditioning": self.conditioning,
            "mask_rates": self.mask_rates,
            "sees_previous": self.sees_previous,
            "predicts": self.predicts,
            "sampling": self.sampling,
        }


def patch_width(conditioning: str, action_dim: int, dim: int) -> int:
    """Return the width of an embedded patch: what an action next to it leaves of `dim`.

    Raises:
        ValueError: if it leaves nothing.
    """
    if conditioning != "concat":
        return dim
    if action_dim >= dim:
        raise ValueError(
            "`action_dim` must be less than the transformer's `dim` if `conditioning` is "
            f'"concat"; received action_dim={action_dim}, dim={dim}.'
        )
    return dim - action_dim


def check_rates(rates) -> tuple[float, float]:
    """Return mask rates as a tuple; raise a ValueError if they are not valid."""
    if not is_share_range(rates) or not rates[1]:
        raise ValueError(
            "`mask_rates` must be the smallest and the largest share of masked tokens, "
            f"the latter above 0; received {rates!r}."
        )
    return tuple(rates)
