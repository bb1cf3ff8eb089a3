"""Scores of a world: its parts and its predictions.

Axes: b batch, t time, n patches.
"""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.evaluation.action_evaluator import summarize_actions
from genie_tf.evaluation.quality import compare, mean, psnr_scores, quality
from genie_tf.evaluation.tokenizer_evaluator import (
    summarize_tokenizer,
    tokenizer_quality,
)
from genie_tf.metrics.controllability import delta_psnr
from genie_tf.metrics.image_quality import psnr
from genie_tf.samplers import WorldSampler, video_seeds

PREDICTED_FRAMES = 10
HORIZON = 4  # t of dPSNR_t, and the length of rollouts with random actions.


class WorldEvaluator:
    """Evaluator of a `WorldModel`.

    Args:
        model: the world.
        sampling: sampling settings, see `WorldSampler.step`.
    """

    def __init__(self, model, sampling: Mapping | None = None):
        self.model = model
        self._sampler = WorldSampler(model)
        self._sampling = model.dynamics.sampling_tensors(sampling)

    def check(self, batch) -> None:
        """Raise a ValueError unless a batch has the actions that the world needs."""
        if self.model.infers_actions:
            return
        if "action" not in batch:
            raise ValueError(
                "The model is guided by true actions; the dataset has no actions."
            )
        if batch["action"].max() >= self.model.num_actions:
            raise ValueError(
                f"The model has {self.model.num_actions} actions, numbered from 0; the "
                f"dataset has action {batch['action'].max()}."
            )

    def draws(self, batch, rng: np.random.Generator) -> dict:
        """Return the random draws for a batch."""
        shape = len(batch["video"]), HORIZON
        return {
            "seed": rng.integers(2**31, size=(), dtype="int32"),
            "random_actions": rng.integers(
                self.model.num_actions, size=shape, dtype="int32"
            ),
        }

    def score(self, batch) -> dict:
        """Return scores of each clip of a batch; it is compiled."""
        world, video = self.model, batch["video"]
        outputs = world.compute_outputs(batch)
        tokens, actions = outputs["tokens"], outputs["actions"]
        frames = min(PREDICTED_FRAMES, actions.shape[1])
        future = video[:, 1 : 1 + frames]
        seeds = video_seeds(batch["seed"], tokens.shape[0])

        prediction, random = (
            self.play(tokens[:, 0], video[:, 0], played, seeds, self._sampling)
            for played in (actions[:, :frames], batch["random_actions"])
        )
        reconstruction = world.tokenizer.detokenize(tokens, video[:, 0])
        limit = psnr(video[:, 1:], reconstruction[:, 1:])
        ceiling = quality(video[:, 1:], reconstruction[:, 1:], limit)
        tokenizer_scores = tokenizer_quality(world.tokenizer, video, reconstruction)

        def quality_of_repeating(frame):
            repeated = ops.broadcast_to(frame, future.shape)
            return quality(future, repeated, limit[:, :frames])

        scores = {
            "tokenizer": tokenizer_scores,
            "dynamics": {
                "prediction": quality(future, prediction[:, 1:], limit[:, :frames]),
                "repeat_prompt": quality_of_repeating(video[:, :1]),
                "repeat_reconstruction": quality_of_repeating(reconstruction[:, :1]),
                "ceiling": {k: v[:, :frames] for k, v in ceiling.items()},
            },
            "random_actions": quality(
                future[:, :HORIZON], random[:, 1:], limit[:, :HORIZON]
            ),
            "delta_psnr": delta_psnr(
                future[:, :HORIZON],
                prediction[:, 1 : 1 + HORIZON],
                random[:, 1:],
                HORIZON,
            ),
            "tokens": world.dynamics.token_scores(tokens, outputs["logits"], batch),
            "codes": {"tokenizer": world.tokenizer.codes_in(tokens)},
            "videos": {"reconstruction": reconstruction, "prediction": prediction},
        }
        if not world.infers_actions:
            return scores
        scores["codes"]["latent_actions"] = actions
        if not world.actions_from_tokens:  # The action model predicts pixels.
            next_frames = outputs["latent_action_model"]["prediction"]
            scores["latent_actions"] = {
                "prediction": quality(video[:, 1:], next_frames, limit),
                "repeat": tokenizer_scores["repeat"],
                "repeat_reconstruction": tokenizer_scores["repeat_reconstruction"],
                "ceiling": ceiling,
            }
        return scores

    def play(self, tokens, frame, actions, seeds, sampling: Mapping):
        """Return the video that starts with a given frame; see `WorldSampler.play`."""
        return self._sampler.play(tokens, frame, actions, seeds, sampling)

    def summarize(self, results, group_actions) -> dict:
        """Return the scores over all clips, by part of the world."""
        scores = {"tokenizer": summarize_tokenizer(self.model.tokenizer, results)}
        if "latent_actions" in results["codes"]:
            scores["latent_actions"] = summarize_actions(
                self.model, results, group_actions
            )
        rows = {**results["dynamics"], "random_actions": results["random_actions"]}
        scores["dynamics"] = {
            "videos": compare(results["dynamics"]),
            "prompt_frames": 1,
            "predicted_frames": rows["prediction"]["psnr"].shape[1],
            "horizons": {
                name: [
                    psnr_scores({form: x[:, i : i + 1] for form, x in row.items()})
                    for i in range(row["psnr"].shape[1])
                ]
                for name, row in rows.items()
            },
            f"delta_psnr_{HORIZON}": mean(results["delta_psnr"]),
            **{name: mean(values) for name, values in results["tokens"].items()},
        }
        return scores


def hold_actions(
    world, prompts, sampling: Mapping | None = None, frames: int = 5, seed: int = 0
):
    """Return the videos that follow each prompt when one action is held, for each action.

    All actions use the same random draws, so only the action differs.

    Args:
        world: a `WorldModel`.
        prompts: (clips, height, width, channels), uint8, or float in [0, 1].
        sampling: sampling settings.
        frames: number of frames for which the action is held.
        seed: seed of the samples.

    Returns:
        float32 (clips, actions, 1 + frames, height, width, channels), the prompt first.
    """
    sampler = WorldSampler(world)
    videos = [
        sampler.generate(
            prompts[:, None],
            np.full((len(prompts), frames), action, "int32"),
            seed,
            sampling,
        )
        for action in range(world.num_actions)
    ]
    return np.stack([ops.convert_to_numpy(video) for video in videos], axis=1)
