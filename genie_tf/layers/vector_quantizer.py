"""VQ-VAE's discrete bottleneck, plain or with cosine similarity and moving codes.

Axes: k codes, l latent dim, m all latents of a batch.
"""

from math import gcd

import keras
from keras import ops

from genie_tf.layers.arguments import (
    check_choice,
    check_flag,
    check_number,
    check_whole,
)
from genie_tf.layers.spherical_k_means import spherical_k_means
from genie_tf.noise import uniform

# Number of latest latents that initialize the codebook after a soft phase.
_RECENT = 1024


@keras.saving.register_keras_serializable("genie_tf")
class VectorQuantizer(keras.layers.Layer):
    """Replacement of each latent by the most similar code of a learned codebook.

    By default, latents and codes are compared and trained on the unit sphere (cosine
    similarity, ViT-VQGAN). The running mean of the latents is subtracted first: their
    common part would otherwise dominate the similarity. Latents get a straight-through
    gradient; the codebook has its own loss. `update` moves idle codes onto latents, so
    that no code is lost. Computes in float32.

    The plain VQ-VAE of Genie has `metric="euclidean"`, `centered=False` and
    `idle_limit=None`. Jafar and GenieRedux keep the cosine, without a center. Jafar
    moves idle latent actions, with `idle_limit=49`, `move_to="codes"` and
    `data_init=False`.

    Args:
        num_codes: size of the codebook.
        code_dim: width of latents and codes.
        commitment_weight: weight of the commitment loss (VQ-VAE's beta).
        idle_limit: number of updates after which an unused code is moved; with None,
            codes are never moved, not even onto the first batch.
        quantize_after: length of the soft phase, in updates. The outputs are then the
            unquantized latents, so that the encoder learns something worth quantizing
            first. At its end `spherical_k_means` of the latest latents initializes the
            codebook, so training must last longer.
        ema: if more than 0, codes have no loss: they follow the mean of the latents
            assigned to them, with this decay per update (VQ-VAE, appendix A.1).
        metric: "cosine", or "euclidean", the distance of VQ-VAE.
        centered: whether the running mean of the latents is subtracted.
        data_init: whether the first batch initializes the codebook: it moves all codes
            that it does not use.
        unit_codes: with cosine, which codes have unit length: "always"; "compared", only
            those that are compared, not those returned (Jasmine); "never", so that a
            longer code is preferred (GenieRedux).
        move_to: where an idle code is moved: "latents", onto a latent of the batch; or
            "codes", onto a code that the batch uses.
        dropout: with cosine, share of the similarities that are 0 in training, so that a
            latent that is like one code also tries others (Jafar, Jasmine).

    Call arguments:
        latents: (..., code_dim).
        key: uint32 (first axis of the latents,), of the random numbers of `dropout`; by
            default, nothing is dropped.

    Returns:
        A dict: `quantized`, the chosen codes, of the latents' shape, with
        straight-through gradient (in the soft phase, the latents); `indices`, int32
        (...), the indices of these codes; `latents`, the latents as compared, with
        cosine on the unit sphere; `loss`, scalar: codebook loss plus weighted commitment
        loss (VQ-VAE, equation 3), 0 in the soft phase; and, if centered, `mean`,
        (1, code_dim), the mean of the input.

    Raises:
        ValueError: if an argument is out of range, or a soft phase or dropout is asked
            for without cosine.

    Example:

    ```python
    quantizer = VectorQuantizer(num_codes=64, code_dim=8)
    outputs = quantizer(keras.random.normal((4, 8)))
    quantizer.update(**quantizer.codebook_stats(outputs))  # After each training step.
    ```
    """

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        commitment_weight: float = 0.25,
        idle_limit: int | None = 10,
        quantize_after: int = 0,
        ema: float = 0.0,
        metric: str = "cosine",
        centered: bool = True,
        data_init: bool = True,
        move_to: str = "latents",
        unit_codes: str = "always",
        dropout: float = 0.0,
        **kwargs,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, code_dim=code_dim)
        check_whole(quantize_after=quantize_after, least=0)
        if idle_limit is not None:
            check_whole(idle_limit=idle_limit, least=0)
        check_number(commitment_weight=commitment_weight, ema=ema)
        check_choice(("cosine", "euclidean"), metric=metric)
        check_choice(("latents", "codes"), move_to=move_to)
        check_choice(("always", "compared", "never"), unit_codes=unit_codes)
        check_flag(centered=centered, data_init=data_init)
        if quantize_after and metric != "cosine":
            raise ValueError(
                '`quantize_after` must be 0 unless `metric` is "cosine": the codebook '
                "starts at clusters by cosine; received "
                f"quantize_after={quantize_after}."
            )
        check_number(dropout=dropout)
        if not 0 <= dropout < 1 or (dropout and metric != "cosine"):
            raise ValueError(
                '`dropout` must be from 0 to below 1, and 0 unless `metric` is "cosine"; '
                f"received {dropout}."
            )
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.commitment_weight = commitment_weight
        self.idle_limit = idle_limit
        self.quantize_after = quantize_after
        self.ema = ema
        self.metric = metric
        self.centered = centered
        self.data_init = data_init
        self.move_to = move_to
        self.unit_codes = unit_codes
        self.dropout = dropout

    def build(self, input_shape):
        if input_shape[-1] != self.code_dim:
            raise ValueError(
                f"Expected latents of width code_dim={self.code_dim}; received shape "
                f"{tuple(input_shape)}."
            )
        self.codebook = self.add_weight(
            shape=(self.num_codes, self.code_dim),
            initializer="random_normal",
            trainable=not self.ema,
            name="codebook",
            aggregation="only_first_replica",
        )
        # Updates since each code was last used. With `data_init`, all start overdue.
        overdue = self.idle_limit or 0 if self.data_init else 0
        self.idle = self.add_weight(
            shape=(self.num_codes,),
            initializer=keras.initializers.Constant(overdue),
            dtype="int32",
            trainable=False,
            name="idle",
            aggregation="only_first_replica",
        )
        if self.centered:
            # The running mean of the latents.
            self.center = self.add_weight(
                shape=(self.code_dim,),
                initializer="zeros",
                trainable=False,
                name="center",
                aggregation="only_first_replica",
            )
        if self.quantize_after:
            self.recent = self.add_weight(
                shape=(_RECENT, self.code_dim),
                initializer="zeros",
                trainable=False,
                name="recent",
                aggregation="only_first_replica",
            )
        self.updates = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            name="updates",
            aggregation="only_first_replica",
        )

    def call(self, latents, key=None):
        outputs = {}
        if self.centered:
            flat = ops.reshape(latents, (-1, self.code_dim))
            outputs["mean"] = ops.mean(flat, axis=0)[None]
            latents = latents - self.center
        latents = self._project(latents)
        codebook = compared = self.codes()
        if self.unit_codes == "compared":
            compared = self._project(codebook)
        similarity = ops.matmul(latents, ops.transpose(compared))
        if self.metric == "euclidean":
            # The largest is now that of the smallest distance.
            similarity -= ops.sum(codebook**2, axis=-1) / 2
        if self.dropout and key is not None:
            drawn = uniform(key, *ops.shape(similarity)[1:])
            similarity = ops.where(drawn < self.dropout, 0, similarity)
        indices = ops.argmax(similarity, axis=-1)
        codes = ops.take(codebook, indices, axis=0)
        hard = ops.cast(self.updates >= self.quantize_after, "float32")
        codebook_loss = (
            0 if self.ema else ops.mean((codes - ops.stop_gradient(latents)) ** 2)
        )
        commitment_loss = ops.mean((latents - ops.stop_gradient(codes)) ** 2)
        return {
            **outputs,
            "quantized": latents + ops.stop_gradient(hard * (codes - latents)),
            "indices": indices,
            "latents": latents,
            "loss": hard * (codebook_loss + self.commitment_weight * commitment_loss),
        }

    def _project(self, vectors):
        """Return latents or codes as they are compared: with cosine, of unit length."""
        if self.metric == "cosine":
            return ops.normalize(vectors, axis=-1)
        return ops.convert_to_tensor(vectors)

    def codes(self):
        """Return the codes as they are looked up, float32 (num_codes, code_dim)."""
        if self.unit_codes == "always":
            return self._project(self.codebook)
        return ops.convert_to_tensor(self.codebook)

    def lookup(self, indices):
        """Return the codes at integer indices (...), float32 (..., code_dim)."""
        return ops.take(self.codes(), indices, axis=0)

    def codebook_stats(self, outputs):
        """Return the arguments of `update` from the outputs of a call."""
        names = ("latents", "indices", *(["mean"] if self.centered else []))
        return {name: outputs[name] for name in names}

    def update(self, latents, indices, mean=None):
        """Move idle codes, and update the running mean.

        At the end of the soft phase, also initialize the codebook. Each idle code gets
        a different latent, so no two codes tie; if the batch has too few latents, the
        remaining codes wait for the next one. With `move_to="codes"`, idle codes become
        copies of the used codes in turn. Deterministic.

        Args:
            latents: (..., code_dim), `latents` of a call, from all replicas.
            indices: int (...), `indices` of the same call.
            mean: (replicas, code_dim), `mean` of the same call, if centered.
        """
        latents = ops.reshape(latents, (-1, self.code_dim))
        counts = code_counts(indices, self.num_codes)
        used = counts > 0
        idle = ops.where(used, 0, self.idle + 1)
        never_move = self.idle_limit is None
        moved = ops.zeros_like(used) if never_move else idle > self.idle_limit
        rank = ops.cumsum(ops.cast(moved, "int32")) - 1
        m = latents.shape[0]
        # On JAX, `where` would ignore a variable's value in a StatelessScope.
        codebook = ops.convert_to_tensor(self.codebook)
        if self.move_to == "codes":
            codes = ops.arange(self.num_codes)
            used_first = ops.argsort(ops.where(used, codes, codes + self.num_codes))
            turn = rank % ops.sum(ops.cast(used, "int32"))
            chosen = ops.take(codebook, ops.take(used_first, turn), axis=0)
        else:
            moved = moved & (rank < m)
            # A stride coprime to m visits each latent once, spread over the batch.
            stride = next(
                s for s in range(int(m * 0.618) | 1, 2 * m + 2) if gcd(s, m) == 1
            )
            chosen = ops.take(latents, rank * stride % m, axis=0)
        if self.ema:
            indices = ops.reshape(indices, (-1,))
            sums = ops.segment_sum(latents, indices, num_segments=self.num_codes)
            counts = ops.cast(ops.maximum(counts, 1), "float32")
            mean_latents = self._project(sums / counts[:, None])
            codes = self.ema * self.codes() + (1 - self.ema) * mean_latents
            codebook = ops.where(used[:, None], codes, codebook)
        codebook = ops.where(moved[:, None], chosen, codebook)
        idle = ops.where(moved, 0, idle)
        if self.quantize_after:
            recent = ops.concatenate([ops.convert_to_tensor(self.recent), latents])
            recent = recent[-_RECENT:]
            num_recent = min(_RECENT, self.quantize_after * m)
            starts = self.updates + 1 == self.quantize_after
            codebook = ops.cond(
                starts,
                lambda: spherical_k_means(recent[-num_recent:], self.num_codes),
                lambda: codebook,
            )
            idle = ops.where(starts, 0, idle)
            self.recent.assign(recent)
        self.codebook.assign(codebook)
        self.idle.assign(idle)
        self.updates.assign(self.updates + 1)
        if self.centered:
            self.center.assign(0.9 * self.center + 0.1 * ops.mean(mean, axis=0))

    def compute_output_spec(self, latents, key=None):
        mean = keras.KerasTensor((1, self.code_dim), "float32")
        return {
            **({"mean": mean} if self.centered else {}),
            "quantized": keras.KerasTensor(latents.shape, "float32"),
            "indices": keras.KerasTensor(latents.shape[:-1], "int32"),
            "latents": keras.KerasTensor(latents.shape, "float32"),
            "loss": keras.KerasTensor((), "float32"),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "commitment_weight": self.commitment_weight,
            "idle_limit": self.idle_limit,
            "quantize_after": self.quantize_after,
            "ema": self.ema,
            "metric": self.metric,
            "centered": self.centered,
            "data_init": self.data_init,
            "move_to": self.move_to,
            "unit_codes": self.unit_codes,
            "dropout": self.dropout,
        }


def code_counts(indices, num_codes: int):
    """Return how often each code occurs in int indices (...), int32 (num_codes,)."""
    flat = ops.reshape(indices, (-1,))
    return ops.segment_sum(ops.ones_like(flat), flat, num_segments=num_codes)
