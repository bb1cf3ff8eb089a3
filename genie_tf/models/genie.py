"""Genie: a tokenizer, a latent action model and a dynamics model, made one."""

import keras
from keras import ops

from genie_tf.models.dynamics import Dynamics, masked_cross_entropy
from genie_tf.models.latent_action_model import LatentActionModel
from genie_tf.models.video_tokenizer import VideoTokenizer


class Genie(keras.Model):
    """A world to play, from finished parts (Genie, section 2).

    The tokenizer is frozen. Latent action model and dynamics train together, each by
    its own full loss: the dynamics takes the actions through a stop-gradient.

    Args:
        tokenizer: a trained `VideoTokenizer`.
        latent_action_model: a `LatentActionModel` for frames of the same shape; or, to
            compare with, for frames of the tokenizer's `grid_shape`: it then sees the
            tokens in place of the pixels (section 3.4).
        dynamics: a `Dynamics` over the tokenizer's tokens.

    Call arguments:
        video: (batch, time, height, width, channels), uint8, or float in [0, 1].
        mask: bool (batch, time, patches), tokens hidden from the dynamics.
        tokens: int32 (batch, time, patches), of the video, where they are known.

    Returns:
        A dict: `logits` of the dynamics; `tokens`; `latent_action_model`, its outputs.

    Raises:
        ValueError: if the parts do not fit each other.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        latent_action_model: LatentActionModel,
        dynamics: Dynamics,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.actions_from_tokens = (
            latent_action_model.frame_shape == tokenizer.grid_shape
        )
        seen = (
            tokenizer.grid_shape if self.actions_from_tokens else tokenizer.frame_shape
        )
        for name, ours, theirs in (
            ("frame_shape", seen, latent_action_model.frame_shape),
            ("num_codes", tokenizer.num_codes, dynamics.num_codes),
            ("num_patches", tokenizer.num_patches, dynamics.num_patches),
            ("action_dim", latent_action_model.action_dim, dynamics.action_dim),
        ):
            if ours != theirs:
                raise ValueError(
                    f"The parts of a Genie must agree on `{name}`; received {ours} "
                    f"and {theirs}."
                )
        self.tokenizer = tokenizer
        self.latent_action_model = latent_action_model
        self.dynamics = dynamics
        tokenizer.trainable = False
        self.built = True

    def call(self, video, mask, tokens=None):
        if tokens is None:
            tokens = self.tokenizer.tokenize(video)
        actions = self.latent_action_model(self._seen_by_actions(video, tokens))
        logits = self.dynamics(tokens, ops.stop_gradient(actions["quantized"]), mask)
        return {"logits": logits, "tokens": tokens, "latent_action_model": actions}

    def infer_actions(self, video):
        """The latent actions between the frames of a video, int32 (batch, time-1)."""
        if self.actions_from_tokens:
            video = self.tokenizer.codes_as_video(self.tokenizer.tokenize(video))
        return self.latent_action_model.infer_actions(video)

    def _seen_by_actions(self, video, tokens):
        """What the latent action model takes for the video."""
        return (
            self.tokenizer.codes_as_video(tokens) if self.actions_from_tokens else video
        )

    def reconstruct(self, batch):
        """A batch's video, masked tokens replaced by the likeliest."""
        outputs = self(batch["video"], batch["mask"], batch.get("tokens"))
        likeliest = ops.argmax(outputs["logits"], axis=-1)
        return self.tokenizer.detokenize(
            ops.where(batch["mask"], likeliest, outputs["tokens"])
        )

    def losses_and_metrics(self, batch):
        """Loss and metrics of a batch of clips.

        Args:
            batch: a dict with `video`, (batch, time, height, width, channels), `mask`,
                bool (batch, time, patches), and `tokens`, where they are known.

        Returns:
            A dict of scalars with `loss` = dynamics cross-entropy at the masked
            tokens + the latent action model's own loss; and what `update_codebooks`
            and `codebook_metrics` take.
        """
        video, mask = batch["video"], batch["mask"]
        outputs = self(video, mask, batch.get("tokens"))
        actions = self.latent_action_model.metrics_of(
            self._seen_by_actions(video, outputs["tokens"]),
            outputs["latent_action_model"],
        )
        cross_entropy, top1 = masked_cross_entropy(
            outputs["tokens"], outputs["logits"], mask
        )
        metrics = {
            "loss": cross_entropy + actions["loss"],
            "dynamics/cross_entropy": cross_entropy,
            "dynamics/top1": top1,
            **{f"latent_action/{name}": value for name, value in actions.items()},
        }
        quantizer = self.latent_action_model.quantizer
        return metrics, quantizer.update_inputs(outputs["latent_action_model"])

    def codebook_metrics(self, codebook_inputs):
        """How many of the latent actions a batch uses, a dict of scalars."""
        usage = self.latent_action_model.codebook_metrics(codebook_inputs)
        return {f"latent_action/{name}": value for name, value in usage.items()}

    def update_codebooks(self, codebook_inputs):
        """Re-seeds idle latent actions from what a training step quantised."""
        self.latent_action_model.update_codebooks(codebook_inputs)

    def arguments(self):
        """The arguments of the parts, plain numbers and words."""
        return {
            "tokenizer": self.tokenizer.arguments(),
            "latent_action_model": self.latent_action_model.arguments(),
            "dynamics": self.dynamics.arguments(),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "tokenizer": self.tokenizer.get_config(),
            "latent_action_model": self.latent_action_model.get_config(),
            "dynamics": self.dynamics.get_config(),
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            "tokenizer": VideoTokenizer.from_config(config["tokenizer"]),
            "latent_action_model": LatentActionModel.from_config(
                config["latent_action_model"]
            ),
            "dynamics": Dynamics.from_config(config["dynamics"]),
        }
        return cls(**{**config, **parts})

    @classmethod
    def from_preset(cls, folder):
        """The trained Genie of a preset folder: see `genie_tf.presets`.

        Raises:
            ValueError: if the folder is no preset, or lacks a part, or is damaged.
        """
        from genie_tf.presets import load_preset  # Presets are made of models.

        return load_preset(folder)
