"""Scores of a world: its parts, and what it predicts.

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
from genie_tf.samplers import WorldSampler, seeds_of_batch

PREDICTED_FRAMES = 10
HORIZON = 4  # t of dPSNR_t, and how far a rollout with random actions goes.


class WorldEvaluator:
    """What is measured of a `WorldModel`.

    Args:
        model: the world.
        sampling: settings that frames are sampled with, see `WorldSampler.step`.
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
                f"The model knows {self.model.num_actions} actions; the dataset has one "
                f"of number {batch['action'].max()}."
            )

    def draws(self, batch, rng: np.random.Generator) -> dict:
        """Return what is random about a batch."""
        shape = len(batch["video"]), HORIZON
        return {
            "seed": rng.integers(2**31, size=(), dtype="int32"),
            "random_actions": rng.integers(
                self.model.num_actions, size=shape, dtype="int32"
            ),
        }

    def score(self, batch) -> dict:
        """Return scores of a batch, clips in front, inside a program."""
        world, video = self.model, batch["video"]
        outputs = world.outputs_of(batch)
        tokens, actions = outputs["tokens"], outputs["actions"]
        frames = min(PREDICTED_FRAMES, actions.shape[1])
        future = video[:, 1 : 1 + frames]
        seeds = seeds_of_batch(batch["seed"], tokens.shape[0])

        prediction, random = (
            self.play(tokens[:, 0], played, seeds, self._sampling)
            for played in (actions[:, :frames], batch["random_actions"])
        )
        reconstruction = world.tokenizer.detokenize(tokens)
        of_tokenizer = tokenizer_quality(video, reconstruction)
        ceiling = {k: v[:, 1:] for k, v in of_tokenizer["reconstruction"].items()}
        limit = ceiling["psnr"]

        def repeating(frame):
            repeated = ops.broadcast_to(frame[:, :1], future.shape)
            return quality(future, repeated, limit[:, :frames])

        scores = {
            "tokenizer": of_tokenizer,
            "dynamics": {
                "prediction": quality(future, prediction[:, 1:], limit[:, :frames]),
                "repeat_prompt": repeating(video),
                "repeat_reconstruction": repeating(reconstruction),
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
            "codes": {"tokenizer": tokens},
            "videos": {"reconstruction": reconstruction, "prediction": prediction},
        }
        if not world.infers_actions:
            return scores
        scores["codes"]["latent_actions"] = actions
        if not world.actions_from_tokens:  # Then it predicts pixels.
            next_frames = outputs["latent_action_model"]["prediction"]
            scores["latent_actions"] = {
                "prediction": quality(video[:, 1:], next_frames, limit),
                "repeat": of_tokenizer["repeat"],
                "repeat_reconstruction": of_tokenizer["repeat_reconstruction"],
                "ceiling": ceiling,
            }
        return scores

    def play(self, first, actions, seeds, sampling: Mapping):
        """Return the video that a frame's tokens begin; see `WorldSampler.play`."""
        played = self._sampler.play(first, actions, seeds, sampling)
        tokens = ops.concatenate([first[:, None], played], axis=1)
        return self.model.tokenizer.detokenize(tokens)

    def summarize(self, found, group_actions) -> dict:
        """Return the scores of all clips, by the part of the world."""
        scores = {"tokenizer": summarize_tokenizer(self.model.tokenizer, found)}
        if "latent_actions" in found["codes"]:
            scores["latent_actions"] = summarize_actions(
                self.model, found, group_actions
            )
        rows = {**found["dynamics"], "random_actions": found["random_actions"]}
        scores["dynamics"] = {
            "videos": compare(found["dynamics"]),
            "prompt_frames": 1,
            "predicted_frames": rows["prediction"]["psnr"].shape[1],
            "horizons": {
                name: [
                    psnr_scores({form: x[:, i : i + 1] for form, x in row.items()})
                    for i in range(row["psnr"].shape[1])
                ]
                for name, row in rows.items()
            },
            f"delta_psnr_{HORIZON}": mean(found["delta_psnr"]),
            **{name: mean(values) for name, values in found["tokens"].items()},
        }
        return scores


def hold_actions(
    world, prompts, sampling: Mapping | None = None, frames: int = 5, seed: int = 0
):
    """What follows each prompt if one action is held, for each action.

    The draws are the same for each action, so that nothing but the action differs.

    Args:
        world: a `WorldModel`.
        prompts: (clips, height, width, channels), uint8, or float in [0, 1].
        sampling: settings that frames are sampled with.
        frames: how long the action is held.
        seed: of what is sampled.

    Returns:
        float32 (clips, actions, 1 + frames, height, width, channels), the prompt first.
    """
    sampler = WorldSampler(world)
    held = [
        sampler.generate(
            prompts[:, None],
            np.full((len(prompts), frames), action, "int32"),
            seed,
            sampling,
        )
        for action in range(world.num_actions)
    ]
    return np.stack([ops.convert_to_numpy(video) for video in held], axis=1)
