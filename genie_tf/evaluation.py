"""How good a Genie is: all its scores, from clips it has not seen."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from tqdm import tqdm

from genie_tf.compilation import compiled
from genie_tf.metrics.codebook_usage import codebook_usage
from genie_tf.metrics.controllability import (
    delta_psnr,
    mean_confidence_interval,
    normalized_mutual_information,
)
from genie_tf.metrics.image_quality import psnr, ssim
from genie_tf.samplers import Rollout

PREDICTED_FRAMES = 10


def evaluate(
    rollout: Rollout,
    batches: Iterator[Mapping[str, np.ndarray]],
    num_clips: int,
    group_actions: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Measures a Genie on clips of 11 frames: one prompt frame, ten to predict.

    Args:
        rollout: of a trained `Genie`.
        batches: of clips, with `mask`, and `action` if the dataset has actions.
        num_clips: how many clips to take, at least two.
        group_actions: gives true actions that do the same one number, such as
            `coinrun_action_groups`.

    Returns:
        The scores, a dict for JSON; and videos of all clips, arrays (clips, time,
        height, width, channels): "truth", "reconstruction" by the tokenizer, and
        "prediction" with inferred actions.
    """
    genie = rollout.genie
    found = _generate(rollout, batches, num_clips)
    truth, prediction = found["truth"], found["prediction"]
    future = truth[:, 1:]
    mean, interval = mean_confidence_interval(
        delta_psnr(future, prediction[:, 1:], found["random"][:, 1:], horizon=4)
    )
    repeated = np.broadcast_to(truth[:, :1], future.shape)
    tokens = codebook_usage(found["tokens"], genie.tokenizer.num_codes)
    actions = codebook_usage(
        found["latent_actions"], genie.latent_action_model.num_actions
    )
    scores = {
        "tokenizer": {
            "psnr": _mean(psnr(truth, found["reconstruction"])),
            "ssim": _mean(ssim(truth, found["reconstruction"])),
            "codes_used": tokens["codes_used"],
            "perplexity": tokens["perplexity"],
        },
        "latent_actions": {
            "codes_used": actions["codes_used"],
            "perplexity": actions["perplexity"],
        },
        "dynamics": {
            "psnr": np.mean(psnr(future, prediction[:, 1:]), axis=0).tolist(),
            "ssim": _mean(ssim(future, prediction[:, 1:])),
            "delta_psnr_4": {"mean": mean, "ci95": interval},
            "top1": _mean(found["top1"]),
        },
        "baselines": {
            "repeat_last_frame_psnr": np.mean(psnr(future, repeated), axis=0).tolist()
        },
        "clips": num_clips,
    }
    if not genie.actions_from_tokens:  # Then it predicts pixels.
        scores["latent_actions"]["psnr"] = _mean(psnr(future, found["next_frames"]))
    if "action" in found:
        scores["latent_actions"]["nmi"] = normalized_mutual_information(
            found["latent_actions"], group_actions(found["action"])
        )
    return scores, found


def _generate(rollout, batches, num_clips) -> dict[str, np.ndarray]:
    """All that is compared, arrays with the clips in front."""
    genie = rollout.genie
    look = compiled(genie)
    rng = np.random.default_rng(0)
    parts, progress = [], tqdm(total=num_clips, desc="evaluate", unit="clip")
    while progress.n < num_clips:
        batch = next(batches)
        outputs = look(batch["video"], batch["mask"])
        tokens, inferred = outputs["tokens"], outputs["latent_action_model"]
        actions = np.asarray(inferred["indices"])
        drawn = rng.integers(genie.latent_action_model.num_actions, size=actions.shape)
        hits = np.argmax(outputs["logits"], axis=-1) == tokens
        part = {
            "truth": batch["video"],
            "tokens": tokens,
            "latent_actions": actions,
            "reconstruction": rollout.detokenize(tokens),
            "next_frames": inferred["prediction"],
            "top1": np.sum(hits & batch["mask"], (1, 2))
            / np.sum(batch["mask"], (1, 2)),
        }
        for name, leading in (("prediction", actions), ("random", drawn)):
            played = rollout.generate_tokens(tokens[:, :1], actions[:, :0], leading)
            part[name] = rollout.detokenize(played)
        if "action" in batch:
            part["action"] = batch["action"]
        parts.append({name: np.asarray(array) for name, array in part.items()})
        progress.update(min(len(tokens), num_clips - progress.n))
    progress.close()
    return {
        name: np.concatenate([part[name] for part in parts])[:num_clips]
        for name in parts[0]
    }


def _mean(values) -> float:
    return float(np.mean(values))
