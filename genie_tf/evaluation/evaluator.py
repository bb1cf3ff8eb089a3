"""Runs a model over clips and collects its scores."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from genie_tf.compilation import compiled_on_replicas, num_replicas
from genie_tf.evaluation.action_evaluator import ActionEvaluator
from genie_tf.evaluation.action_probe import probe_answers, probe_scores
from genie_tf.evaluation.frechet import frechet_scores, video_features
from genie_tf.evaluation.tokenizer_evaluator import TokenizerEvaluator
from genie_tf.evaluation.world_evaluator import HORIZON, WorldEvaluator
from genie_tf.models import ActionModel, Tokenizer, WorldModel

MIN_FRAMES = 1 + HORIZON

_EVALUATORS = {
    Tokenizer: TokenizerEvaluator,
    ActionModel: ActionEvaluator,
    WorldModel: WorldEvaluator,
}
_NUM_SHOWN = 8


def evaluate(
    model: keras.Model,
    batches: Iterator[Mapping[str, np.ndarray]],
    num_clips: int,
    *,
    sampling: Mapping | None = None,
    seed: int = 0,
    group_actions: Callable[[np.ndarray], np.ndarray] = np.asarray,
    strategy=None,
    feature_networks: Sequence[Callable] = (),
    action_probe=None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Measure a model on clips; docs/evaluation.md says what each number is.

    Each batch is one program on one replica, so any number of replicas finds the same.

    Args:
        model: a `Tokenizer`, `ActionModel` or `WorldModel`, made under the scope of the
            strategy.
        batches: of equally many clips of five frames or more, with `training_inputs`,
            and `action`, if the dataset has actions.
        num_clips: how many clips to take, at least two.
        sampling: settings that a world samples frames with.
        seed: of what is sampled and of the random actions.
        group_actions: gives true actions that do the same one number, such as
            `Actions.group` of a dataset.
        strategy: a `tf.distribute.Strategy` of one machine; None for one device.
        feature_networks: of Fréchet distances between the true future and a Genie's:
            functions of a video, uint8 or float in [0, 1], (b, t, height, width, 3), to
            features, equally many rows for each clip, with `name` and `score_name`.
        action_probe: an `ActionProbe` of the dataset, to measure a world's frames.

    Returns:
        The scores, a dict for JSON; and the first clips, arrays (clips, time, height,
        width, channels): "truth", and of what the model makes "reconstruction",
        "next_frames" and "prediction".

    Raises:
        ValueError: if a batch is not for the model, see `check_batch`.
    """
    evaluator = _make_evaluator(model, sampling)
    run = compiled_on_replicas(evaluator.score, strategy)
    found, shown = [], []
    numbered = enumerate(batches)
    with tqdm(total=num_clips, desc="evaluate", unit="clip") as progress:
        while progress.n < num_clips:
            several = list(itertools.islice(numbered, num_replicas(strategy)))
            results = run([_with_draws(evaluator, x, seed, i) for i, x in several])
            for (_, batch), result in zip(several, results, strict=True):
                take = min(len(batch["video"]), num_clips - progress.n)
                if not take:
                    break
                videos = {"truth": batch["video"], **result.pop("videos")}
                if progress.n < _NUM_SHOWN:
                    shown.append(_numpy(videos, take))
                actions = np.asarray(batch.get("action", ()))[:take]
                features = [
                    video_features(network, videos) for network in feature_networks
                ]
                measured = {**result, "features": features}
                if action_probe:
                    measured["probe"] = probe_answers(action_probe, videos)
                found.append({**_numpy(measured, take), "action": actions})
                progress.update(take)
    found, shown = _concatenate(found), _concatenate(shown)
    scores = {"clips": num_clips, "frames": shown["truth"].shape[1]}
    scores |= evaluator.summarize(found, group_actions)
    if feature_networks:
        scores["frechet"] = [
            frechet_scores(network, features)
            for network, features in zip(
                feature_networks, found["features"], strict=True
            )
        ]
    if action_probe:
        scores["action_probe"] = probe_scores(
            action_probe,
            found["probe"],
            found["action"],
            found["codes"].get("latent_actions"),
        )
    return scores, {name: video[:_NUM_SHOWN] for name, video in shown.items()}


def check_model(model: keras.Model) -> None:
    """Raise a ValueError unless a model can be evaluated."""
    _make_evaluator(model)


def check_batch(model: keras.Model, batch: Mapping[str, np.ndarray]) -> None:
    """Tell whether clips are such as a model can be evaluated on.

    Raises:
        ValueError: if they are too short, or lack actions that the model needs, or have
            more of them than it knows; or if the model can't be evaluated.
    """
    _check(_make_evaluator(model), batch)


def _make_evaluator(model: keras.Model, sampling: Mapping | None = None):
    for kind, evaluator in _EVALUATORS.items():
        if isinstance(model, kind):
            return evaluator(model, sampling)
    raise ValueError(
        "A world, a tokenizer or a latent action model can be evaluated; received a "
        f"{type(model).__name__}."
    )


def _check(evaluator, batch) -> None:
    frames = batch["video"].shape[1]
    if frames < MIN_FRAMES:
        raise ValueError(
            f"An evaluation needs clips of at least {MIN_FRAMES} frames; received "
            f"{frames}."
        )
    evaluator.check(batch)


def _with_draws(evaluator, batch, seed: int, index: int) -> dict[str, np.ndarray]:
    """Return a batch with all that is random about it, a function of seed and index."""
    _check(evaluator, batch)
    return {**batch, **evaluator.draws(batch, np.random.default_rng((seed, index)))}


def _numpy(tensors, take: int):
    """Copy of the first clips, which keep no memory of the device."""
    return keras.tree.map_structure(
        lambda x: ops.convert_to_numpy(x)[:take].copy(), tensors
    )


def _concatenate(parts):
    return keras.tree.map_structure(lambda *x: np.concatenate(x), *parts)
