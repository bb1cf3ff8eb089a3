"""Scores of latent actions."""

from genie_tf.evaluation.quality import (
    PartEvaluator,
    compare,
    quality,
    usage,
)
from genie_tf.metrics.action_agreement import action_agreement


class ActionEvaluator(PartEvaluator):
    """What is measured of an `ActionModel`."""

    def score(self, batch) -> dict:
        """Return scores of a batch, clips in front, inside a program."""
        video = batch["video"]
        outputs = self.model(video)
        made = outputs["prediction"]
        return {
            "latent_actions": {
                "prediction": quality(video[:, 1:], made),
                "repeat": quality(video[:, 1:], video[:, :-1]),
            },
            "codes": {"latent_actions": outputs["indices"]},
            "videos": {"next_frames": made},
        }

    def summarize(self, found, group_actions) -> dict:
        """Return the scores of all clips."""
        return {"latent_actions": summarize_actions(self.model, found, group_actions)}


def summarize_actions(model, found, group_actions) -> dict:
    """Return quality, code usage and agreement with true actions.

    Args:
        model: whose `num_actions` there are.
        found: what was measured, of all clips.
        group_actions: gives true actions that do the same one number.
    """
    latent = found["codes"]["latent_actions"]
    scores = {}
    if "latent_actions" in found:
        scores["videos"] = compare(found["latent_actions"])
    scores |= usage(latent, model.num_actions)
    if found["action"].size:
        true = group_actions(found["action"])
        scores["agreement"] = action_agreement(latent, true, model.num_actions)
    return scores
