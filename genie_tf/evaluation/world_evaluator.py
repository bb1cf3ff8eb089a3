"""Scores of a world: its parts and its predictions.

Axes: b batch, t time, n patches.
"""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.evaluation.action_evaluator import summarize_actions
from genie_tf.evaluation.protocol import DEFAULT_PROTOCOL, Protocol
from genie_tf.evaluation.quality import compare, mean, psnr_scores, quality
from genie_tf.evaluation.tokenizer_evaluator import (
    summarize_tokenizer,
    tokenizer_quality,
)
from genie_tf.metrics.controllability import delta_psnr
from genie_tf.metrics.image_quality import black_out, psnr
from genie_tf.samplers import WorldSampler, video_seeds

HORIZON = 4  # t of the published dPSNR_t.


class WorldEvaluator:
    """Evaluator of a `WorldModel`.

    Args:
        model: the world.
        sampling: sampling settings, see `WorldSampler.step`.
        protocol: prompt, prediction and region, see `Protocol`.
    """

    def __init__(
        self,
        model,
        sampling: Mapping | None = None,
        protocol: Protocol = DEFAULT_PROTOCOL,
    ):
        self.model = model
        self.protocol = protocol
        self._sampler = WorldSampler(model)
        self._sampling = model.dynamics.sampling_tensors(sampling)

    def check(self, batch) -> None:
        """Raise a ValueError unless a batch has the frames and actions that are needed."""
        self.protocol.count_predicted(batch["video"].shape[1])
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
        clips, frames = batch["video"].shape[:2]
        frames = self.protocol.count_predicted(frames)
        num_actions = self.model.num_actions

        def draw(time, number):
            return rng.integers(number, size=(clips, time), dtype="int32")

        seed = rng.integers(2**31, size=(), dtype="int32")
        # The first ones as in earlier versions, so that their dPSNR_4 stays.
        first, rest = draw(HORIZON, num_actions), draw(frames, num_actions)
        return {
            "seed": seed,
            "random_actions": np.concatenate([first, rest], axis=1)[:, :frames],
            # Added to the true action, it gives another one.
            "action_offsets": 1 + draw(frames, max(1, num_actions - 1)),
        }

    def score(self, batch) -> dict:
        """Return scores of each clip of a batch; it is compiled."""
        world, video, start = self.model, batch["video"], self.protocol.prompt_frames
        outputs = world.compute_outputs(batch)
        tokens, actions = outputs["tokens"], outputs["actions"]
        end = start + self.protocol.count_predicted(video.shape[1])
        seeds = video_seeds(batch["seed"], tokens.shape[0])

        state, prompt = self._sampler.add_known_frames(
            tokens[:, :start], video[:, 0], actions[:, : start - 1]
        )
        played = actions[:, start - 1 : end - 1]
        others = (played + batch["action_offsets"]) % world.num_actions
        prediction, last_replaced = self._sampler.play(
            state, played, seeds, self._sampling, others
        )
        randomly = self._sampler.play(
            state, batch["random_actions"], seeds, self._sampling
        )
        reconstruction = world.tokenizer.detokenize(tokens, video[:, 0])
        videos = {
            "reconstruction": reconstruction,
            "prediction": ops.concatenate([prompt, prediction], axis=1),
        }

        video, reconstruction, prediction, last_replaced, randomly = (
            black_out(x, self.protocol.region)
            for x in (video, reconstruction, prediction, last_replaced, randomly)
        )
        future = video[:, start:end]
        limit = psnr(video[:, 1:], reconstruction[:, 1:])
        ceiling = quality(video[:, 1:], reconstruction[:, 1:], limit)
        tokenizer_scores = tokenizer_quality(world.tokenizer, video, reconstruction)
        predicted = slice(start - 1, end - 1)

        def quality_of(frames):
            return quality(
                future, ops.broadcast_to(frames, future.shape), limit[:, predicted]
            )

        def deltas(frames):
            return ops.stack(
                [
                    delta_psnr(future, prediction, frames, t)
                    for t in range(1, 1 + end - start)
                ],
                axis=1,
            )

        scores = {
            "tokenizer": tokenizer_scores,
            "dynamics": {
                "prediction": quality_of(prediction),
                "repeat_prompt": quality_of(video[:, start - 1 : start]),
                "repeat_reconstruction": quality_of(
                    reconstruction[:, start - 1 : start]
                ),
                "ceiling": {k: v[:, predicted] for k, v in ceiling.items()},
            },
            "other_actions": {
                "random_actions": quality_of(randomly),
                "last_action": quality_of(last_replaced),
            },
            "delta_psnr": {
                "random_actions": deltas(randomly),
                "last_action": deltas(last_replaced),
            },
            "tokens": world.dynamics.token_scores(tokens, outputs["logits"], batch),
            "codes": {"tokenizer": world.tokenizer.codes_in(tokens)},
            "videos": videos,
        }
        if not world.infers_actions:
            return scores
        scores["codes"]["latent_actions"] = actions
        if not world.actions_from_tokens:  # The action model predicts pixels.
            next_frames = outputs["latent_action_model"]["prediction"]
            scores["latent_actions"] = {
                "prediction": quality(
                    video[:, 1:], black_out(next_frames, self.protocol.region), limit
                ),
                "repeat": tokenizer_scores["repeat"],
                "repeat_reconstruction": tokenizer_scores["repeat_reconstruction"],
                "ceiling": ceiling,
            }
        return scores

    def compared(self, videos: Mapping) -> dict:
        """Return the true future, the prediction and baselines, for Fréchet distances."""
        start = self.protocol.prompt_frames
        end = videos["prediction"].shape[1]
        truth, reconstruction = videos["truth"], videos["reconstruction"]
        future = truth[:, start:end]
        prompt = slice(start - 1, start)
        return {
            "truth": future,
            "prediction": videos["prediction"][:, start:],
            "repeat_prompt": np.broadcast_to(truth[:, prompt], future.shape),
            "repeat_reconstruction": np.broadcast_to(
                reconstruction[:, prompt], future.shape
            ),
            "ceiling": reconstruction[:, start:end],
        }

    def summarize(self, results, group_actions) -> dict:
        """Return the scores over all clips, by part of the world."""
        scores = {"tokenizer": summarize_tokenizer(self.model.tokenizer, results)}
        if "latent_actions" in results["codes"]:
            scores["latent_actions"] = summarize_actions(
                self.model, results, group_actions
            )
        rows = {**results["dynamics"], **results["other_actions"]}
        deltas = {
            name: [mean(x) for x in values.T]
            for name, values in results["delta_psnr"].items()
        }
        frames = rows["prediction"]["psnr"].shape[1]
        scores["dynamics"] = {
            "videos": compare(results["dynamics"]),
            "prompt_frames": self.protocol.prompt_frames,
            "predicted_frames": frames,
            "horizons": {
                name: [
                    psnr_scores({form: x[:, i : i + 1] for form, x in row.items()})
                    for i in range(frames)
                ]
                for name, row in rows.items()
            },
            "delta_psnr": deltas,
            **{f"delta_psnr_{HORIZON}": x for x in deltas["random_actions"][3:4]},
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
