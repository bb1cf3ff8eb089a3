"""World models: a tokenizer, actions and a dynamics model in one model."""

from typing import ClassVar

import keras
from keras import ops

from genie_tf.models.action_model import ActionModel
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.tokenizer import Tokenizer, freeze
from genie_tf.models.trainable_model import TrainableModel, dropout_key


class WorldModel(TrainableModel, contract=True):
    """Base class of world models: a dynamics model over a frozen tokenizer.

    Args:
        tokenizer: a trained `Tokenizer`.
        dynamics: a `Dynamics` over its tokens.

    Attributes:
        part_classes: the class of each part, by argument name.
        infers_actions: whether it can infer the actions of a video.

    Raises:
        ValueError: if the parts do not fit together.
    """

    part_classes: ClassVar[dict[str, type]] = {}
    infers_actions: bool = True

    def __init__(self, tokenizer: Tokenizer, dynamics: Dynamics, **kwargs):
        super().__init__(**kwargs)
        for shared in ("num_codes", "num_tokens"):
            _check_equal(shared, getattr(tokenizer, shared), getattr(dynamics, shared))
        self.tokenizer = tokenizer
        self.dynamics = dynamics
        freeze(tokenizer)
        self.built = True

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        raise NotImplementedError

    def action_vectors(self, actions):
        """Return the vectors of integer actions (...), float32 (..., action_dim)."""
        raise NotImplementedError

    def infer_actions(self, video):
        """Return the actions between the frames of a video, int32 (batch, time-1)."""
        raise NotImplementedError

    def compute_outputs(self, batch, errors=None) -> dict:
        """Run all parts on a batch of clips.

        Args:
            batch: a dict with `video`, (batch, time, height, width, channels), uint8 or
                float in [0, 1]; `training_inputs` of the dynamics; `tokens`, int32
                (batch, time, tokens), if known; and `action`, int32 (batch, time-1),
                if needed.
            errors: patches to decode wrongly, see `Tokenizer.tokenize_and_decode`.

        Returns:
            A dict: `tokens`; `decoded`, the video as decoded, if the dynamics sees it;
            `logits` of the dynamics; `actions`, int32 (batch, time-1); and
            `latent_action_model`, the outputs of that part, if any.
        """
        raise NotImplementedError

    def _tokenize(self, batch, errors) -> dict:
        """Return `tokens` and, if the dynamics sees it, the video as `decoded`."""
        if not self.dynamics.sees_frames:
            if "tokens" in batch:
                return {"tokens": batch["tokens"]}
            return {"tokens": self.tokenizer.tokenize(batch["video"])}
        if "tokens" in batch:
            first = batch["video"][:, 0]
            tokens = batch["tokens"]
            decoded = self.tokenizer.detokenize(tokens, first)
        else:
            tokens, decoded = self.tokenizer.tokenize_and_decode(batch["video"], errors)
        return {"tokens": tokens, "decoded": ops.stop_gradient(decoded)}

    def training_inputs(self, rng, clip):
        return self.dynamics.training_inputs(rng, clip)

    def reconstruct(self, batch):
        """Return the video of a batch, decoded from `Dynamics.likeliest` tokens."""
        outputs = self.compute_outputs(batch)
        likeliest = self.dynamics.likeliest(outputs["tokens"], outputs["logits"], batch)
        return self.tokenizer.detokenize(likeliest, batch["video"][:, 0])

    def losses_and_metrics(self, batch):
        """Return loss and metrics of a batch of clips.

        Args:
            batch: see `compute_outputs`.

        Returns:
            A dict of scalars with `loss` = dynamics loss + the loss of a trainable
            latent action model; and the arguments of `update_codebooks`.
        """
        outputs = self.compute_outputs(batch, batch.get("errors"))
        scores = self.dynamics.loss_and_metrics(
            outputs["tokens"], outputs["logits"], batch
        )
        metrics = {"loss": scores.pop("loss")}
        metrics |= {f"dynamics/{name}": value for name, value in scores.items()}
        return self._with_actions(metrics, batch, outputs)

    def _with_actions(self, metrics, batch, outputs):
        """Add loss and metrics of the latent action model, if any."""
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
    """World model conditioned on true actions (GenieRedux-G, Kazemi et al. 2024).

    Each action is a one-hot vector.

    Args:
        tokenizer: a trained `Tokenizer`.
        dynamics: a `Dynamics` over its tokens, whose `action_dim` is the number of true
            actions.

    Raises:
        ValueError: if the parts do not fit together.

    Example:

    ```python
    dynamics = MaskGitDynamics.for_world(tokenizer, 15, {"transformer": transformer})
    genie = GuidedGenie(tokenizer, dynamics)
    ```
    """

    part_classes = {"tokenizer": Tokenizer, "dynamics": Dynamics}
    infers_actions = False

    @property
    def num_actions(self) -> int:
        return self.dynamics.action_dim

    def action_vectors(self, actions):
        return ops.one_hot(actions, self.num_actions, dtype="float32")

    def compute_outputs(self, batch, errors=None) -> dict:
        inputs, actions = self._tokenize(batch, errors), batch["action"]
        logits = self.dynamics(
            inputs["tokens"], self.action_vectors(actions), {**batch, **inputs}
        )
        return {**inputs, "logits": logits, "actions": actions}

    def infer_actions(self, video):
        raise ValueError(
            "A GuidedGenie cannot infer the actions of a video; use a prompt of one "
            "frame."
        )


@keras.saving.register_keras_serializable("genie_tf")
class Genie(WorldModel):
    """Playable world model, learned from videos without labels (Genie, section 2).

    The tokenizer is frozen. Latent action model and dynamics train together, each with
    its own loss: actions enter the dynamics through a stop-gradient. A latent action
    model whose `trainable` is false is not changed.

    Args:
        tokenizer: a trained `Tokenizer`.
        latent_action_model: an `ActionModel` for frames of the same shape; or, for
            comparison, for frames of the tokenizer's `grid_shape`, in which case its
            input are tokens instead of pixels (section 3.4).
        dynamics: a `Dynamics` over the tokens.

    Raises:
        ValueError: if the parts do not fit together.

    Example:

    ```python
    dynamics = MaskGitDynamics.for_world(
        tokenizer, latent_action_model.action_dim, {"transformer": transformer}
    )
    genie = Genie(tokenizer, latent_action_model, dynamics)
    actions = genie.infer_actions(video)  # int32 (batch, time-1)
    ```
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
        frame_shape = latent_action_model.frame_shape
        actions_from_tokens = frame_shape == tokenizer.grid_shape
        if not actions_from_tokens:
            _check_equal("frame_shape", tokenizer.frame_shape, frame_shape)
        _check_equal("action_dim", latent_action_model.action_dim, dynamics.action_dim)
        super().__init__(tokenizer, dynamics, **kwargs)
        self.latent_action_model = latent_action_model
        self.actions_from_tokens = actions_from_tokens

    @property
    def num_actions(self) -> int:
        return self.latent_action_model.num_actions

    def action_vectors(self, actions):
        return self.latent_action_model.action_vectors(actions)

    def compute_outputs(self, batch, errors=None) -> dict:
        inputs = self._tokenize(batch, errors)
        tokens = inputs["tokens"]
        actions = self.latent_action_model(
            self._action_input(batch, tokens), *dropout_key(batch)
        )
        logits = self.dynamics(
            tokens, ops.stop_gradient(actions["quantized"]), {**batch, **inputs}
        )
        return {
            **inputs,
            "logits": logits,
            "actions": actions["indices"],
            "latent_action_model": actions,
        }

    def dropout_inputs(self, rng, clip):
        model = self.latent_action_model
        return model.dropout_inputs(rng, clip) if model.trainable else {}

    def infer_actions(self, video):
        if self.actions_from_tokens:
            video = self.tokenizer.codes_as_video(self.tokenizer.tokenize(video))
        return self.latent_action_model.infer_actions(video)

    def _action_input(self, batch, tokens):
        """Return the video that the latent action model is called on."""
        if self.actions_from_tokens:
            return self.tokenizer.codes_as_video(tokens)
        return batch["video"]

    def _with_actions(self, metrics, batch, outputs):
        model, actions = self.latent_action_model, outputs["latent_action_model"]
        video = self._action_input(batch, outputs["tokens"])
        scores = model.loss_and_metrics(video, actions)
        metrics |= {f"latent_action/{name}": value for name, value in scores.items()}
        if model.trainable:
            metrics["loss"] += scores["loss"]
        return metrics, model.codebook_stats(actions)

    def validation_metrics(self, batch):
        if self.actions_from_tokens:  # The action model predicts no pixels.
            return {}
        scores = self.latent_action_model.validation_metrics(batch)
        return {f"latent_action/{name}": value for name, value in scores.items()}

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
