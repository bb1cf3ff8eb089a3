"""Genie: a tokenizer, a latent action model and a dynamics model, made one."""

from typing import ClassVar

import keras
from keras import ops

from genie_tf.models.action_model import ActionModel
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.tokenizer import Tokenizer, freeze
from genie_tf.models.trainable_model import TrainableModel


class WorldModel(TrainableModel, contract=True):
    """What any Genie is: a dynamics over a frozen tokenizer's tokens, and actions.

    Args:
        tokenizer: a trained `Tokenizer`.
        dynamics: a `Dynamics` over its tokens.

    Attributes:
        part_classes: what each part is, by the name of its argument.
        infers_actions: whether it can tell the actions of a video.

    Raises:
        ValueError: if the parts do not fit each other.
    """

    part_classes: ClassVar[dict[str, type]] = {}
    infers_actions: bool = True

    def __init__(self, tokenizer: Tokenizer, dynamics: Dynamics, **kwargs):
        super().__init__(**kwargs)
        for shared in ("num_codes", "num_patches"):
            _check_equal(shared, getattr(tokenizer, shared), getattr(dynamics, shared))
        self.tokenizer = tokenizer
        self.dynamics = dynamics
        freeze(tokenizer)
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
                float in [0, 1]; the dynamics' `training_inputs`; `tokens`, int32 (batch,
                time, patches), where they are known; and `action`, int32 (batch,
                time-1), where it is needed.

        Returns:
            A dict: `logits`, what the dynamics returns;
            `tokens`; `actions`, int32 (batch, time-1); and of a latent action model its
            outputs, `latent_action_model`.
        """
        raise NotImplementedError

    def _tokens_of(self, batch):
        if "tokens" in batch:
            return batch["tokens"]
        return self.tokenizer.tokenize(batch["video"])

    def training_inputs(self, rng, clip):
        return self.dynamics.training_inputs(rng, clip)

    def reconstruct(self, batch):
        """Return a batch's video, tokens replaced by the likeliest where they count."""
        outputs = self.outputs_of(batch)
        return self.tokenizer.detokenize(
            self.dynamics.likeliest(outputs["tokens"], outputs["logits"], batch)
        )

    def losses_and_metrics(self, batch):
        """Loss and metrics of a batch of clips.

        Args:
            batch: see `outputs_of`.

        Returns:
            A dict of scalars with `loss` = the loss of the dynamics + the own loss of a
            latent action model that is trained; and what `update_codebooks` and
            `codebook_metrics` take.
        """
        outputs = self.outputs_of(batch)
        found = self.dynamics.loss_and_metrics(
            outputs["tokens"], outputs["logits"], batch
        )
        metrics = {"loss": found.pop("loss")}
        metrics |= {f"dynamics/{name}": value for name, value in found.items()}
        return self._with_actions(metrics, batch, outputs)

    def _with_actions(self, metrics, batch, outputs):
        """Loss and metrics together with those of how actions are found."""
        return metrics, {}

    def parts(self):
        return {name: getattr(self, name) for name in self.part_classes}

    def about(self):
        return {
            "frame_shape": list(self.tokenizer.frame_shape),
            "num_actions": self.num_actions,
        }

    def get_config(self):
        parts = {
            name: keras.saving.serialize_keras_object(part)
            for name, part in self.parts().items()
        }
        return {**super().get_config(), **parts}

    def arguments(self):
        return {}

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in cls.part_classes
        }
        return super().from_config({**config, **parts})


@keras.saving.register_keras_serializable("genie_tf")
class GuidedGenie(WorldModel):
    """A world steered by the true actions of its data (GenieRedux-G, Kazemi et al. 2024).

    Each action is a one-hot vector.

    Args:
        tokenizer: a trained `Tokenizer`.
        dynamics: a `Dynamics` over the tokenizer's tokens, whose `action_dim` is the
            number of true actions.

    Raises:
        ValueError: if the parts do not fit each other.
    """

    part_classes = {"tokenizer": Tokenizer, "dynamics": Dynamics}
    infers_actions = False

    @property
    def num_actions(self) -> int:
        return self.dynamics.action_dim

    def action_vectors(self, actions):
        return ops.one_hot(actions, self.num_actions, dtype="float32")

    def outputs_of(self, batch) -> dict:
        tokens, actions = self._tokens_of(batch), batch["action"]
        logits = self.dynamics(tokens, self.action_vectors(actions), batch)
        return {"logits": logits, "tokens": tokens, "actions": actions}

    def infer_actions(self, video):
        raise ValueError(
            "A guided Genie cannot tell the actions of a video; give it a prompt of one "
            "frame."
        )


@keras.saving.register_keras_serializable("genie_tf")
class Genie(WorldModel):
    """A world to play, learned from videos alone (Genie, section 2).

    The tokenizer is frozen. Latent action model and dynamics train together, each by
    its own full loss: the dynamics takes the actions through a stop-gradient. A latent
    action model whose `trainable` is false stays as it is.

    Args:
        tokenizer: a trained `Tokenizer`.
        latent_action_model: an `ActionModel` for frames of the same shape; or, to
            compare with, for frames of the tokenizer's `grid_shape`: it then sees the
            tokens in place of the pixels (section 3.4).
        dynamics: a `Dynamics` over the tokenizer's tokens.

    Raises:
        ValueError: if the parts do not fit each other.
    """

    part_classes = {
        "tokenizer": Tokenizer,
        "latent_action_model": ActionModel,
        "dynamics": Dynamics,
    }

    def __init__(
        self,
        tokenizer: Tokenizer,
        latent_action_model: ActionModel,
        dynamics: Dynamics,
        **kwargs,
    ):
        seen = latent_action_model.frame_shape
        of_tokens = seen == tokenizer.grid_shape
        if not of_tokens:
            _check_equal("frame_shape", tokenizer.frame_shape, seen)
        _check_equal("action_dim", latent_action_model.action_dim, dynamics.action_dim)
        super().__init__(tokenizer, dynamics, **kwargs)
        self.latent_action_model = latent_action_model
        self.actions_from_tokens = of_tokens

    @property
    def num_actions(self) -> int:
        return self.latent_action_model.num_actions

    def action_vectors(self, actions):
        return self.latent_action_model.action_vectors(actions)

    def outputs_of(self, batch) -> dict:
        tokens = self._tokens_of(batch)
        actions = self.latent_action_model(self._seen_by_actions(batch, tokens))
        logits = self.dynamics(tokens, ops.stop_gradient(actions["quantized"]), batch)
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
        return metrics, model.stats_of(found)

    def codebook_metrics(self, codebook_stats):
        usage = self.latent_action_model.codebook_metrics(codebook_stats)
        return {f"latent_action/{name}": value for name, value in usage.items()}

    def update_codebooks(self, codebook_stats):
        if self.latent_action_model.trainable:
            self.latent_action_model.update_codebooks(codebook_stats)


def _check_equal(name: str, ours, theirs) -> None:
    if ours != theirs:
        raise ValueError(
            f"The parts of a Genie must agree on `{name}`; received {ours} and {theirs}."
        )
