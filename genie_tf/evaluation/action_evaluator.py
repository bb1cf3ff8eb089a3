"""Scores of latent actions."""

from collections.abc import Mapping

from genie_tf.evaluation.quality import (
    PartEvaluator,
    compare,
    quality,
    usage,
)
from genie_tf.metrics.action_agreement import action_agreement
from genie_tf.metrics.image_quality import black_out


class ActionEvaluator(PartEvaluator):
    """Evaluator of an `ActionModel`."""

    def score(self, batch) -> dict:
        """Return scores of each clip of a batch; it is compiled."""
        video = batch["video"]
        outputs = self.model(video)
        next_frames = outputs["prediction"]
        region = self.protocol.region
        video, prediction = black_out(video, region), black_out(next_frames, region)
        return {
            "latent_actions": {
                "prediction": quality(video[:, 1:], prediction),
                "repeat": quality(video[:, 1:], video[:, :-1]),
            },
            "codes": {"latent_actions": outputs["indices"]},
            "videos": {"next_frames": next_frames},
        }

    def compared(self, videos: Mapping) -> dict:
        """Return true frames, predictions and a baseline, for Fréchet distances."""
        truth = videos["truth"]
        return {
            "truth": truth[:, 1:],
            "prediction": videos["next_frames"],
            "repeat": truth[:, :-1],
        }

    def summarize(self, results, group_actions) -> dict:
        """Return the scores over all clips."""
        return {"latent_actions": summarize_actions(self.model, results, group_actions)}


def summarize_actions(model, results, group_actions) -> dict:
    """Return quality, code usage and agreement with true actions.

    Args:
        model: model with `num_actions`.
        results: results of `score` for all clips, and their true actions.
        group_actions: maps true actions with the same effect to one number.
    """
    latent = results["codes"]["latent_actions"]
    scores = {}
    if "latent_actions" in results:
        scores["videos"] = compare(results["latent_actions"])
    scores |= usage(latent, model.num_actions)
    if results["action"].size:
        true = group_actions(results["action"])
        scores["agreement"] = action_agreement(latent, true, model.num_actions)
    return scores
