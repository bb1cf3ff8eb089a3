"""VQ-VAE's discrete bottleneck, with cosine similarity and re-seeding of idle codes.

Axes: k codes, l latent dim, m all latents of a batch.
"""

from math import gcd

import keras
from keras import ops

from genie_tf.layers.arguments import check_number, check_whole
from genie_tf.layers.spherical_k_means import spherical_k_means

# Number of latest latents that initialize the codebook after a soft phase.
_RECENT = 1024


@keras.saving.register_keras_serializable("genie_tf")
class VectorQuantizer(keras.layers.Layer):
    """Replacement of each latent by the most similar code of a learned codebook.

    Latents and codes are compared and trained on the unit sphere (cosine similarity,
    ViT-VQGAN). The running mean of the latents is subtracted first: their common part
    would otherwise dominate the similarity. Latents get a straight-through gradient;
    the codebook has its own loss. `update` moves idle codes onto latents, so that no
    code is lost. Computes in float32.

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

    Call arguments:
        latents: (..., code_dim).

    Returns:
        A dict: `quantized`, the chosen codes, of the latents' shape, with
        straight-through gradient (in the soft phase, the latents); `indices`, int32
        (...), the indices of these codes; `latents`, the latents on the unit sphere;
        `mean`, (1, code_dim), the mean of the input; `loss`, scalar: codebook loss plus
        weighted commitment loss (VQ-VAE, equation 3), 0 in the soft phase.

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
        **kwargs,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        check_whole(num_codes=num_codes, code_dim=code_dim)
        check_whole(quantize_after=quantize_after, least=0)
        if idle_limit is not None:
            check_whole(idle_limit=idle_limit, least=0)
        check_number(commitment_weight=commitment_weight, ema=ema)
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.commitment_weight = commitment_weight
        self.idle_limit = idle_limit
        self.quantize_after = quantize_after
        self.ema = ema

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
        # Updates since each code was last used. All start overdue, so that the first
        # batch initializes the codebook.
        self.idle = self.add_weight(
            shape=(self.num_codes,),
            initializer=keras.initializers.Constant(self.idle_limit or 0),
            dtype="int32",
            trainable=False,
            name="idle",
            aggregation="only_first_replica",
        )

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

    def call(self, latents):
        mean = ops.mean(ops.reshape(latents, (-1, self.code_dim)), axis=0)[None]
        latents = ops.normalize(latents - self.center, axis=-1)
        codebook = self.codes()
        similarity = ops.matmul(latents, ops.transpose(codebook))
        indices = ops.argmax(similarity, axis=-1)
        codes = ops.take(codebook, indices, axis=0)
        hard = ops.cast(self.updates >= self.quantize_after, "float32")
        codebook_loss = (
            0 if self.ema else ops.mean((codes - ops.stop_gradient(latents)) ** 2)
        )
        commitment_loss = ops.mean((latents - ops.stop_gradient(codes)) ** 2)
        return {
            "quantized": latents + ops.stop_gradient(hard * (codes - latents)),
            "indices": indices,
            "latents": latents,
            "mean": mean,
            "loss": hard * (codebook_loss + self.commitment_weight * commitment_loss),
        }

    def codes(self):
        """Return the codebook on the unit sphere, float32 (num_codes, code_dim)."""
        return ops.normalize(self.codebook, axis=-1)

    def lookup(self, indices):
        """Return the codes at integer indices (...), float32 (..., code_dim)."""
        return ops.take(self.codes(), indices, axis=0)

    def codebook_stats(self, outputs):
        """Return the arguments of `update` from the outputs of a call."""
        return {name: outputs[name] for name in ("latents", "indices", "mean")}

    def update(self, latents, indices, mean):
        """Move idle codes onto latents of the batch, and update the running mean.

        At the end of the soft phase, also initialize the codebook. Each idle code gets
        a different latent, so no two codes tie; if the batch has too few latents, the
        remaining codes wait for the next one. Deterministic.

        Args:
            latents: (..., code_dim), `latents` of a call, from all replicas.
            indices: int (...), `indices` of the same call.
            mean: (replicas, code_dim), `mean` of the same call.
        """
        latents = ops.reshape(latents, (-1, self.code_dim))
        used = code_counts(indices, self.num_codes) > 0
        idle = ops.where(used, 0, self.idle + 1)
        never_move = self.idle_limit is None
        moved = ops.zeros_like(used) if never_move else idle > self.idle_limit
        rank = ops.cumsum(ops.cast(moved, "int32")) - 1
        m = latents.shape[0]
        moved = moved & (rank < m)
        # A stride coprime to m visits each latent once, spread over the batch.
        stride = next(s for s in range(int(m * 0.618) | 1, 2 * m + 2) if gcd(s, m) == 1)
        chosen = ops.take(latents, rank * stride % m, axis=0)
        # On JAX, `where` would ignore a variable's value in a StatelessScope.
        codebook = ops.convert_to_tensor(self.codebook)
        if self.ema:
            indices = ops.reshape(indices, (-1,))
            sums = ops.segment_sum(latents, indices, num_segments=self.num_codes)
            mean_latents = ops.normalize(sums, axis=-1)
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
        self.center.assign(0.9 * self.center + 0.1 * ops.mean(mean, axis=0))

    def compute_output_spec(self, latents):
        return {
            "quantized": keras.KerasTensor(latents.shape, "float32"),
            "indices": keras.KerasTensor(latents.shape[:-1], "int32"),
            "latents": keras.KerasTensor(latents.shape, "float32"),
            "mean": keras.KerasTensor((1, self.code_dim), "float32"),
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
        }


def code_counts(indices, num_codes: int):
    """Return how often each code occurs in int indices (...), int32 (num_codes,)."""
    flat = ops.reshape(indices, (-1,))
    return ops.segment_sum(ops.ones_like(flat), flat, num_segments=num_codes)
