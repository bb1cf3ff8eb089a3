"""How good a model is: all scores of a tokenizer, of latent actions, of a Genie.

Axes: b batch, t time, n patches.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from genie_tf.compilation import compiled_on_replicas, num_replicas
from genie_tf.metrics.action_agreement import action_agreement
from genie_tf.metrics.codebook_usage import codebook_usage
from genie_tf.metrics.image_quality import psnr, ssim
from genie_tf.metrics.intervals import mean_confidence_interval
from genie_tf.metrics.token_prediction import masked_token_scores
from genie_tf.models import GuidedGenie, LatentActionModel, VideoTokenizer
from genie_tf.samplers import Rollout, Sampling, seeds_of_batch

PREDICTED_FRAMES = 10
HORIZON = 4  # t of dPSNR_t, and how far a rollout with random actions goes.
MIN_FRAMES = 1 + HORIZON

_NUM_SHOWN = 8


def evaluate(
    model: keras.Model,
    batches: Iterator[Mapping[str, np.ndarray]],
    num_clips: int,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    group_actions: Callable[[np.ndarray], np.ndarray] = np.asarray,
    strategy=None,
    feature_networks: Sequence[Callable] = (),
) -> tuple[dict, dict[str, np.ndarray]]:
    """Measures a model on clips; docs/evaluation.md says what each number is.

    Each batch is one program on one replica, so any number of replicas finds the same.

    Args:
        model: a `VideoTokenizer`, `LatentActionModel`, `Genie` or `GuidedGenie`, made
            under the scope of the strategy.
        batches: of equally many clips of five frames or more, with `mask` for a Genie,
            and `action`, if the dataset has actions.
        num_clips: how many clips to take, at least two.
        sampling: how a Genie fills in frames.
        seed: of what is sampled and of the random actions.
        group_actions: gives true actions that do the same one number, such as
            `Actions.group` of a dataset.
        strategy: a `tf.distribute.Strategy` of one machine; None for one device.
        feature_networks: of Fréchet distances between the true future and a Genie's:
            functions of a video, uint8 or float in [0, 1], (b, t, height, width, 3), to
            features, equally many rows for each clip, with `name` and `score_name`.

    Returns:
        The scores, a dict for JSON; and the first clips, arrays (clips, time, height,
        width, channels): "truth", and of what the model makes "reconstruction",
        "next_frames" and "prediction".

    Raises:
        ValueError: if a batch is not for the model, as of `check_batch`.
    """
    program = _program_of(model, sampling or Sampling())
    run = compiled_on_replicas(program, strategy)
    found, shown = [], []
    numbered = enumerate(batches)
    with tqdm(total=num_clips, desc="evaluate", unit="clip") as progress:
        while progress.n < num_clips:
            several = list(itertools.islice(numbered, num_replicas(strategy)))
            results = run([_with_draws(model, x, seed, i) for i, x in several])
            for (_, batch), result in zip(several, results, strict=True):
                take = min(len(batch["video"]), num_clips - progress.n)
                if not take:
                    break
                videos = {"truth": batch["video"], **result.pop("videos")}
                if progress.n < _NUM_SHOWN:
                    shown.append(_numpy(videos, take))
                actions = np.asarray(batch.get("action", ()))[:take]
                features = [_features(network, videos) for network in feature_networks]
                measured = {**result, "features": features}
                found.append({**_numpy(measured, take), "action": actions})
                progress.update(take)
    found, shown = _concatenate(found), _concatenate(shown)
    scores = {"clips": num_clips, "frames": shown["truth"].shape[1]}
    scores |= _summarise(model, found, group_actions)
    if feature_networks:
        scores["frechet"] = [
            _frechet(network, features)
            for network, features in zip(
                feature_networks, found["features"], strict=True
            )
        ]
    return scores, {name: video[:_NUM_SHOWN] for name, video in shown.items()}


def check_batch(model: keras.Model, batch: Mapping[str, np.ndarray]) -> None:
    """Tells whether clips are such as a model can be evaluated on.

    Raises:
        ValueError: if they are too short, or lack actions that the model needs, or have
            more of them than it knows.
    """
    frames = batch["video"].shape[1]
    if frames < MIN_FRAMES:
        raise ValueError(
            f"An evaluation needs clips of at least {MIN_FRAMES} frames; received "
            f"{frames}."
        )
    if not isinstance(model, GuidedGenie):
        return
    if "action" not in batch:
        raise ValueError(
            "The model is guided by true actions; the dataset has no actions."
        )
    if batch["action"].max() >= model.num_actions:
        raise ValueError(
            f"The model knows {model.num_actions} actions; the dataset has one of "
            f"number {batch['action'].max()}."
        )


def hold_actions(
    genie, prompts, sampling: Sampling | None = None, frames: int = 5, seed: int = 0
):
    """What follows each prompt if one action is held, for each action.

    The draws are the same for each action, so that nothing but the action differs.

    Args:
        genie: a `Genie` or `GuidedGenie`.
        prompts: (clips, height, width, channels), uint8, or float in [0, 1].
        sampling: how frames are filled in.
        frames: how long the action is held.
        seed: of what is sampled.

    Returns:
        float32 (clips, actions, 1 + frames, height, width, channels), the prompt first.
    """
    rollout = Rollout(genie)
    held = [
        rollout.generate(
            prompts[:, None],
            np.full((len(prompts), frames), action, "int32"),
            seed,
            sampling or Sampling(),
        )
        for action in range(genie.num_actions)
    ]
    return np.stack([ops.convert_to_numpy(video) for video in held], axis=1)


# One batch, on the device.


def _program_of(model, sampling: Sampling) -> Callable[[dict], dict]:
    """A function of a batch to a dict of dicts of tensors, the clips in front.

    `tokenizer`, `latent_actions` and `dynamics` hold quality by video, as
    (b, t) decibels or SSIM; `codes` and `tokens` what their names say; `videos` what is
    made, to look at.
    """
    if isinstance(model, VideoTokenizer):
        return lambda batch: _score_tokenizer(model, batch)
    if isinstance(model, LatentActionModel):
        return lambda batch: _score_latent_actions(model, batch)
    rollout, settings = Rollout(model), sampling.as_tensors()
    return lambda batch: _score_genie(rollout, settings, batch)


def _score_tokenizer(model, batch):
    video = batch["video"]
    outputs = model(video)
    made = outputs["reconstruction"]
    return {
        "tokenizer": {
            "reconstruction": _quality(video, made),
            "repeat": _quality(video[:, 1:], video[:, :-1]),
        },
        "codes": {"tokenizer": outputs["indices"]},
        "videos": {"reconstruction": made},
    }


def _score_latent_actions(model, batch):
    video = batch["video"]
    outputs = model(video)
    made = outputs["prediction"]
    return {
        "latent_actions": {
            "prediction": _quality(video[:, 1:], made),
            "repeat": _quality(video[:, 1:], video[:, :-1]),
        },
        "codes": {"latent_actions": outputs["indices"]},
        "videos": {"next_frames": made},
    }


def _score_genie(rollout, sampling, batch):
    genie, video = rollout.genie, batch["video"]
    outputs = genie.outputs_of(batch)
    tokens, actions = outputs["tokens"], outputs["actions"]
    frames = min(PREDICTED_FRAMES, actions.shape[1])
    future, prompt = video[:, 1 : 1 + frames], video[:, :1]
    seeds = seeds_of_batch(batch["seed"], tokens.shape[0])

    def play(actions):
        played = rollout.play(tokens[:, 0], actions, seeds, sampling)
        played = ops.concatenate([tokens[:, :1], played], axis=1)
        return genie.tokenizer.detokenize(played)

    prediction, random = play(actions[:, :frames]), play(batch["random_actions"])
    reconstruction = genie.tokenizer.detokenize(tokens)
    ceiling = _quality(video, reconstruction)
    repeat = _quality(video[:, 1:], video[:, :-1])
    scores = {
        "tokenizer": {"reconstruction": ceiling, "repeat": repeat},
        "dynamics": {
            "prediction": _quality(future, prediction[:, 1:]),
            "random_actions": {"psnr": psnr(future[:, :HORIZON], random[:, 1:])},
            "repeat": _quality(future, ops.broadcast_to(prompt, future.shape)),
            "ceiling": {k: v[:, 1 : 1 + frames] for k, v in ceiling.items()},
        },
        "tokens": masked_token_scores(tokens, outputs["logits"], batch["mask"]),
        "codes": {"tokenizer": tokens},
        "videos": {"reconstruction": reconstruction, "prediction": prediction},
    }
    if isinstance(genie, GuidedGenie):
        return scores
    scores["codes"]["latent_actions"] = actions
    if not genie.actions_from_tokens:  # Then it predicts pixels.
        next_frames = outputs["latent_action_model"]["prediction"]
        scores["latent_actions"] = {
            "prediction": _quality(video[:, 1:], next_frames),
            "repeat": repeat,
            "ceiling": {k: v[:, 1:] for k, v in ceiling.items()},
        }
    return scores


def _quality(target, made):
    """PSNR and SSIM of each frame, (b, t)."""
    return {"psnr": psnr(target, made), "ssim": ssim(target, made)}


def _with_draws(model, batch, seed: int, index: int) -> dict[str, np.ndarray]:
    """A batch with all that is random about it: a function of the seed and its number.

    Raises:
        ValueError: as `check_batch`.
    """
    check_batch(model, batch)
    if isinstance(model, (VideoTokenizer, LatentActionModel)):
        return dict(batch)
    rng = np.random.default_rng((seed, index))
    shape = len(batch["video"]), HORIZON
    return {
        **batch,
        "seed": rng.integers(2**31, size=(), dtype="int32"),
        "random_actions": rng.integers(model.num_actions, size=shape, dtype="int32"),
    }


# All batches, on the host.


def _numpy(tensors, take: int):
    """Copies of the first clips, which keep no memory of the device."""
    return keras.tree.map_structure(
        lambda x: ops.convert_to_numpy(x)[:take].copy(), tensors
    )


def _concatenate(parts):
    return keras.tree.map_structure(lambda *x: np.concatenate(x), *parts)


def _summarise(model, found, group_actions) -> dict:
    """The scores of all clips, by the part of the model that they are of."""
    scores = {
        part: {"videos": _compare(found[part])}
        for part in ("tokenizer", "latent_actions", "dynamics")
        if part in found
    }
    if "tokenizer" in found["codes"]:
        size = getattr(model, "tokenizer", model).num_codes
        scores["tokenizer"] |= _usage(found["codes"]["tokenizer"], size)
    if "latent_actions" in found["codes"]:
        latent = found["codes"]["latent_actions"]
        section = scores.setdefault("latent_actions", {})
        section |= _usage(latent, model.num_actions)
        if found["action"].size:
            section["agreement"] = action_agreement(
                latent, group_actions(found["action"]), model.num_actions
            )
    if "dynamics" in found:
        quality = found["dynamics"]
        inferred, random = quality["prediction"], quality["random_actions"]
        scores["dynamics"] |= {
            "prompt_frames": 1,
            "predicted_frames": inferred["psnr"].shape[1],
            "horizons": {
                name: {"psnr": [_mean(column) for column in row["psnr"].T]}
                for name, row in quality.items()
            },
            f"delta_psnr_{HORIZON}": _mean(
                inferred["psnr"][:, HORIZON - 1] - random["psnr"][:, HORIZON - 1]
            ),
            **{name: _mean(values) for name, values in found["tokens"].items()},
        }
    return scores


def _compare(quality: Mapping) -> dict:
    """Means over the frames of each video, and how far each is from the ceiling."""
    means = {
        name: {score: values.mean(axis=1) for score, values in row.items()}
        for name, row in quality.items()
        if name != "random_actions"  # of fewer frames
    }
    compared = {
        name: {score: _mean(values) for score, values in row.items()}
        for name, row in means.items()
    }
    if "ceiling" in means:
        for name in means.keys() - {"ceiling"}:
            gap = means["ceiling"]["psnr"] - means[name]["psnr"]
            compared[name]["psnr_below_ceiling"] = _mean(gap)
    return compared


def _usage(codes, size: int) -> dict:
    counts = np.bincount(codes.ravel(), minlength=size)
    return {**codebook_usage(codes, size), "counts": counts.tolist()}


def _mean(values) -> dict:
    mean, interval = mean_confidence_interval(values)
    return {"mean": mean, "ci95": list(interval)}


# Fréchet distances.


def _features(network, videos: Mapping) -> dict:
    """Features of the true future and of what is compared with it: (b, rows, width)."""
    prediction = ops.convert_to_numpy(videos["prediction"])[:, 1:]
    future = slice(1, 1 + prediction.shape[1])
    truth = videos["truth"][:, future]
    compared = {
        "truth": truth,
        "prediction": prediction,
        "repeat": np.broadcast_to(videos["truth"][:, :1], truth.shape),
        "ceiling": ops.convert_to_numpy(videos["reconstruction"])[:, future],
    }
    rows = {name: np.asarray(network(video)) for name, video in compared.items()}
    return {name: x.reshape(len(truth), -1, x.shape[-1]) for name, x in rows.items()}


def _frechet(network, features: Mapping) -> dict:
    from genie_tf.metrics.frechet_distance import frechet_distance

    rows = {name: x.reshape(-1, x.shape[-1]) for name, x in features.items()}
    truth = rows.pop("truth")
    distances = {name: frechet_distance(truth, x) for name, x in rows.items()}
    return {"network": network.name, "score": network.score_name, **distances}
