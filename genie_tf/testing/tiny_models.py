"""Minimal models and clips, for tests of the code around them."""

import random

import keras
import numpy as np
from keras import ops

from genie_tf.layers import VectorQuantizer, code_counts, patchify, unpatchify
from genie_tf.metrics.codebook_usage import usage_from_counts
from genie_tf.models import (
    DeltaTokenizer,
    Genie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
)
from genie_tf.models.preprocessing import to_unit_range

FRAME_SHAPE = (16, 16, 3)
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2, "window": 8}
SPACE = {**TRANSFORMER, "attention": "space"}


def tiny_tokenizer(**changes) -> VideoTokenizer:
    """Make a `VideoTokenizer`, equal in each call, with changed arguments."""
    random.seed(0)  # Keras draws the seeds of its initializers from `random`.
    return VideoTokenizer(
        **{
            "frame_shape": FRAME_SHAPE,
            "patch_size": 8,
            "num_codes": 24,
            "code_dim": 8,
            "encoder": TRANSFORMER,
            "decoder": TRANSFORMER,
            **changes,
        }
    )


def tiny_delta_tokenizer(**changes) -> DeltaTokenizer:
    """Make a `DeltaTokenizer`, equal in each call, with changed arguments."""
    random.seed(0)
    tokenizer = DeltaTokenizer(
        **{
            "frame_shape": FRAME_SHAPE,
            "patch_size": 4,
            "num_codes": 12,
            "code_dim": 2,
            "depth": 2,
            "encoder": SPACE,
            "decoder": SPACE,
            "quantizer": {"class_name": "FiniteScalarQuantizer", "levels": [4, 3]},
            "reach": (2, 2),
            "margin": 8,
            **changes,
        }
    )
    # As if trained: an untrained one draws copies.
    kernel = tokenizer.to_change.kernel
    kernel.assign(np.random.default_rng(1).normal(0, 0.1, kernel.shape))
    return tokenizer


def tiny_latent_action_model(**changes) -> LatentActionModel:
    """Make a `LatentActionModel`, equal in each call, with changed arguments."""
    random.seed(1)
    return LatentActionModel(
        **{
            "frame_shape": FRAME_SHAPE,
            "patch_size": 8,
            "num_actions": 5,
            "action_dim": 8,
            "encoder": TRANSFORMER,
            "decoder": TRANSFORMER,
            **changes,
        }
    )


def tiny_genie(**changes) -> Genie:
    """Make a `Genie`, equal in each call, with changed arguments of its tokenizer."""
    tokenizer = tiny_tokenizer(**changes)
    latent_action_model = tiny_latent_action_model()
    dynamics = MaskGitDynamics(
        num_codes=tokenizer.num_codes,
        num_patches=tokenizer.num_patches,
        action_dim=8,
        transformer=TRANSFORMER,
    )
    # As if trained: an untrained one copies the previous frame, whatever the action.
    kernel = dynamics.to_change.kernel
    kernel.assign(3 * np.random.default_rng(0).normal(size=kernel.shape))
    return Genie(tokenizer, latent_action_model, dynamics)


def save_action_probe(path, name: str, groups: int, frame_size) -> None:
    """Write an untrained action probe of mean colors for `load_action_probe`."""
    video = keras.Input((None, *frame_size, 3))
    before = keras.layers.Cropping3D(((0, 1), (0, 0), (0, 0)))(video)
    color = keras.layers.AveragePooling3D((1, *frame_size))(before)
    logits = keras.layers.Dense(groups)(keras.layers.Reshape((-1, 3))(color))
    keras.Model(video, logits, name=name).save(path)


class TinyAutoencoder(keras.Model):
    """Trainable model that compiles quickly: a vector-quantized code for each patch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.encoder = keras.layers.Dense(8)
        self.quantizer = VectorQuantizer(num_codes=24, code_dim=8)
        self.decoder = keras.layers.Dense(8 * 8 * 3, activation="sigmoid")
        self.encoder.build((None, 8 * 8 * 3))
        self.quantizer.build((None, 8))
        self.decoder.build((None, 8))
        self.built = True

    def call(self, video):
        patches = patchify(to_unit_range(video), 8)
        quantized = self.quantizer(self.encoder(patches))
        pixels = self.decoder(quantized["quantized"])
        return {"reconstruction": unpatchify(pixels, 8, *FRAME_SHAPE[:2]), **quantized}

    def arguments(self):
        return {}

    def reconstruct(self, batch):
        return self(batch["video"])["reconstruction"]

    def losses_and_metrics(self, batch):
        outputs = self(batch["video"])
        error = to_unit_range(batch["video"]) - outputs["reconstruction"]
        metrics = {"loss": ops.mean(error**2) + outputs["loss"]}
        return metrics, self.quantizer.codebook_stats(outputs)

    def validation_metrics(self, batch):
        return {}

    def codebook_metrics(self, codebook_stats):
        return usage_from_counts(
            code_counts(codebook_stats["indices"], self.quantizer.num_codes)
        )

    def update_codebooks(self, codebook_stats):
        self.quantizer.update(**codebook_stats)


def tiny_batch(step: int, batch: int = 4, time: int = 4) -> dict[str, np.ndarray]:
    """Return the batch of a step: drifting noise, and masks of at least half of it."""
    rng = np.random.default_rng(step)
    height, width, channels = FRAME_SHAPE
    first = rng.integers(256, size=(batch, 1, height, width, channels))
    drift = rng.integers(-20, 20, size=(batch, time - 1, 1, 1, channels))
    video = np.concatenate([first, first + np.cumsum(drift, axis=1)], axis=1)
    mask = rng.random((batch, time, 4)) < rng.uniform(0.5, 1, (batch, 1, 1))
    mask[:, 0] = False
    return {
        "video": np.clip(video, 0, 255).astype("uint8"),
        "action": rng.integers(15, size=(batch, time - 1), dtype="int32"),
        "mask": mask,
    }
