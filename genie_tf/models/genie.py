"""Genie: a tokenizer, a latent action model and a dynamics model, made one."""

import keras
from keras import ops

from genie_tf.models.dynamics import Dynamics, masked_cross_entropy
from genie_tf.models.latent_action_model import LatentActionModel
from genie_tf.models.preset_model import PresetModel
from genie_tf.models.video_tokenizer import VideoTokenizer


class World(PresetModel):
    """What any Genie is: a dynamics over a frozen tokenizer's tokens, and actions.

    Args:
        **parts: `tokenizer`, `dynamics` and what else a subclass is made of.

    Raises:
        ValueError: if the parts do not fit each other.
    """

    def __init__(self, *, name=None, dtype=None, trainable=True, **parts):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        for shared in ("num_codes", "num_patches"):
            _check_equal(
                shared,
                getattr(parts["tokenizer"], shared),
                getattr(parts["dynamics"], shared),
            )
        for part_name, part in parts.items():
            setattr(self, part_name, part)
        # First true: on TensorFlow, Keras passes over a value that is there already.
        self.tokenizer.trainable = True
        self.tokenizer.trainable = False
        self.built = True

    @property
    def num_actions(self) -> int:
        """How many buttons there are."""
        raise NotImplementedError

    def action_vectors(self, actions):
        """What the dynamics sees of actions: int (...) -> float32 (..., action_dim)."""
        raise NotImplementedError

    def infer_actions(self, video):
        """The actions between the frames of a video, int32 (batch, time-1)."""
        raise NotImplementedError

    def outputs_of(self, batch) -> dict:
        """What the model makes of a batch of clips.

        Args:
            batch: a dict with `video`, (batch, time, height, width, channels), uint8 or
                float in [0, 1]; `mask`, bool (batch, time, patches), tokens hidden from
                the dynamics; `tokens`, int32 (batch, time, patches), where they are
                known; and `action`, int32 (batch, time-1), where it is needed.

        Returns:
            A dict: `logits` of the dynamics, float32 (batch, time, patches, num_codes);
            `tokens`; `actions`, int32 (batch, time-1); and of a latent action model its
            outputs, `latent_action_model`.
        """
        raise NotImplementedError

    def _tokens_of(self, batch):
        if "tokens" in batch:
            return batch["tokens"]
        return self.tokenizer.tokenize(batch["video"])

    def reconstruct(self, batch):
        """A batch's video, masked tokens replaced by the likeliest."""
        outputs = self.outputs_of(batch)
        likeliest = ops.argmax(outputs["logits"], axis=-1)
        return self.tokenizer.detokenize(
            ops.where(batch["mask"], likeliest, outputs["tokens"])
        )

    def losses_and_metrics(self, batch):
        """Loss and metrics of a batch of clips.

        Args:
            batch: as of `outputs_of`.

        Returns:
            A dict of scalars with `loss` = dynamics cross-entropy at the masked tokens
            + the own loss of a latent action model that is trained; and what
            `update_codebooks` and `codebook_metrics` take.
        """
        outputs = self.outputs_of(batch)
        cross_entropy, top1 = masked_cross_entropy(
            outputs["tokens"], outputs["logits"], batch["mask"]
        )
        metrics = {
            "loss": cross_entropy,
            "dynamics/cross_entropy": cross_entropy,
            "dynamics/top1": top1,
        }
        return self._with_actions(metrics, batch, outputs)

    def _with_actions(self, metrics, batch, outputs):
        """Loss and metrics together with those of how actions are found."""
        return metrics, {}

    def codebook_metrics(self, codebook_inputs):
        """How many of the latent actions a batch uses, a dict of scalars."""
        return {}

    def update_codebooks(self, codebook_inputs):
        """Lets codebooks learn from what a training step quantised."""

    def parts(self) -> dict[str, keras.Model]:
        """The models this one is made of, by name."""
        return {name: getattr(self, name) for name in PARTS if hasattr(self, name)}

    def arguments(self):
        """The arguments of the parts, plain numbers and words."""
        return {name: part.arguments() for name, part in self.parts().items()}

    def get_config(self):
        parts = {name: part.get_config() for name, part in self.parts().items()}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config):
        parts = {
            name: made.from_config(config[name])
            for name, made in PARTS.items()
            if name in config
        }
        return super().from_config({**config, **parts})


@keras.saving.register_keras_serializable("genie_tf")
class GuidedGenie(World):
    """A world steered by the true actions of its data (GenieRedux-G, Kazemi et al. 2024).

    Each action is a one-hot vector.

    Args:
        tokenizer: a trained `VideoTokenizer`.
        dynamics: a `Dynamics` over the tokenizer's tokens, whose `action_dim` is the
            number of true actions.

    Raises:
        ValueError: if the parts do not fit each other.
    """

    def __init__(self, tokenizer: VideoTokenizer, dynamics: Dynamics, **kwargs):
        super().__init__(tokenizer=tokenizer, dynamics=dynamics, **kwargs)

    @property
    def num_actions(self) -> int:
        return self.dynamics.action_dim

    def action_vectors(self, actions):
        return ops.one_hot(actions, self.num_actions, dtype="float32")

    def outputs_of(self, batch) -> dict:
        tokens, actions = self._tokens_of(batch), batch["action"]
        logits = self.dynamics(tokens, self.action_vectors(actions), batch["mask"])
        return {"logits": logits, "tokens": tokens, "actions": actions}

    def infer_actions(self, video):
        raise ValueError(
            "A guided Genie cannot tell the actions of a video; give it a prompt of one "
            "frame."
        )


@keras.saving.register_keras_serializable("genie_tf")
class Genie(World):
    """A world to play, learned from videos alone (Genie, section 2).

    The tokenizer is frozen. Latent action model and dynamics train together, each by
    its own full loss: the dynamics takes the actions through a stop-gradient. A latent
    action model whose `trainable` is false stays as it is.

    Args:
        tokenizer: a trained `VideoTokenizer`.
        latent_action_model: a `LatentActionModel` for frames of the same shape; or, to
            compare with, for frames of the tokenizer's `grid_shape`: it then sees the
            tokens in place of the pixels (section 3.4).
        dynamics: a `Dynamics` over the tokenizer's tokens.

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
        seen = latent_action_model.frame_shape
        of_tokens = seen == tokenizer.grid_shape
        if not of_tokens:
            _check_equal("frame_shape", tokenizer.frame_shape, seen)
        _check_equal("action_dim", latent_action_model.action_dim, dynamics.action_dim)
        super().__init__(
            tokenizer=tokenizer,
            latent_action_model=latent_action_model,
            dynamics=dynamics,
            **kwargs,
        )
        self.actions_from_tokens = of_tokens

    @property
    def num_actions(self) -> int:
        return self.latent_action_model.num_actions

    def action_vectors(self, actions):
        return self.latent_action_model.quantizer.lookup(actions)

    def outputs_of(self, batch) -> dict:
        tokens = self._tokens_of(batch)
        actions = self.latent_action_model(self._seen_by_actions(batch, tokens))
        logits = self.dynamics(
            tokens, ops.stop_gradient(actions["quantized"]), batch["mask"]
        )
        return {
            "logits": logits,
            "tokens": tokens,
            "actions": actions["indices"],
            "latent_action_model": actions,
        }

    def infer_actions(self, video):
        if self.actions_from_tokens:
            video = self.tokenizer.codes_as_video(self.tokenizer.tokenize(video))
        return self.latent_action_model.infer_actions(video)

    def _seen_by_actions(self, batch, tokens):
        """What the latent action model takes for the video."""
        if self.actions_from_tokens:
            return self.tokenizer.codes_as_video(tokens)
        return batch["video"]

    def _with_actions(self, metrics, batch, outputs):
        model, found = self.latent_action_model, outputs["latent_action_model"]
        seen = self._seen_by_actions(batch, outputs["tokens"])
        actions = model.metrics_of(seen, found)
        metrics |= {f"latent_action/{name}": value for name, value in actions.items()}
        if model.trainable:
            metrics["loss"] += actions["loss"]
        return metrics, model.quantizer.update_inputs(found)

    def codebook_metrics(self, codebook_inputs):
        usage = self.latent_action_model.codebook_metrics(codebook_inputs)
        return {f"latent_action/{name}": value for name, value in usage.items()}

    def update_codebooks(self, codebook_inputs):
        if self.latent_action_model.trainable:
            self.latent_action_model.update_codebooks(codebook_inputs)


PARTS = {
    "tokenizer": VideoTokenizer,
    "latent_action_model": LatentActionModel,
    "dynamics": Dynamics,
}


def _check_equal(name: str, ours, theirs) -> None:
    if ours != theirs:
        raise ValueError(
            f"The parts of a Genie must agree on `{name}`; received {ours} and {theirs}."
        )
