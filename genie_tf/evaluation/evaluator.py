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
from genie_tf.evaluation.protocol import DEFAULT_PROTOCOL, Protocol
from genie_tf.evaluation.tokenizer_evaluator import TokenizerEvaluator
from genie_tf.evaluation.world_evaluator import HORIZON, WorldEvaluator
from genie_tf.metrics.image_quality import black_out
from genie_tf.models import ActionModel, Tokenizer, WorldModel

MIN_FRAMES = 1 + HORIZON

_EVALUATORS = {
    Tokenizer: TokenizerEvaluator,
    ActionModel: ActionEvaluator,
    WorldModel: WorldEvaluator,
}
_NUM_VIDEOS = 8


def evaluate(
    model: keras.Model,
    batches: Iterator[Mapping[str, np.ndarray]],
    num_clips: int,
    *,
    sampling: Mapping | None = None,
    protocol: Protocol = DEFAULT_PROTOCOL,
    seed: int = 0,
    group_actions: Callable[[np.ndarray], np.ndarray] = np.asarray,
    strategy=None,
    feature_networks: Sequence[Callable] = (),
    action_probe=None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Evaluate a model on clips; docs/evaluation.md defines the scores.

    Each batch runs as one program on one replica, so the scores do not depend on the
    number of replicas.

    Args:
        model: a `Tokenizer`, `ActionModel` or `WorldModel`, built under the scope of the
            strategy.
        batches: batches of the same number of clips of five frames or more, with
            `training_inputs`, and `action` if the dataset has actions.
        num_clips: number of clips to evaluate, at least two.
        sampling: sampling settings of a world.
        protocol: prompt, prediction and region, see `Protocol`.
        seed: seed of the samples and the random actions.
        group_actions: maps true actions with the same effect to one number, such as
            `Actions.group` of a dataset.
        strategy: a `tf.distribute.Strategy` of one machine; None for one device.
        feature_networks: networks for Fréchet distances between true frames and those
            of the model: functions from a video, uint8 or float in [0, 1], (b, t, height,
            width, 3), to features, the same number of rows for each clip, with `name`
            and `score_name`.
        action_probe: an `ActionProbe` of the dataset, for worlds.

    Returns:
        The scores, a dict for JSON; and videos of the first clips, (clips, time, height,
        width, channels): "truth", and of the model's outputs "reconstruction",
        "next_frames" and "prediction".

    Raises:
        ValueError: if a batch does not fit the model, see `check_batch`.
    """
    evaluator = _make_evaluator(model, sampling, protocol)
    run = compiled_on_replicas(evaluator.score, strategy)
    results, first_videos = [], []
    numbered = enumerate(batches)
    with tqdm(total=num_clips, desc="evaluate", unit="clip") as progress:
        while progress.n < num_clips:
            group = list(itertools.islice(numbered, num_replicas(strategy)))
            outputs = run([_with_draws(evaluator, x, seed, i) for i, x in group])
            for (_, batch), result in zip(group, outputs, strict=True):
                take = min(len(batch["video"]), num_clips - progress.n)
                if not take:
                    break
                videos = {"truth": batch["video"], **result.pop("videos")}
                if progress.n < _NUM_VIDEOS:
                    first_videos.append(_numpy(videos, take))
                actions = np.asarray(batch.get("action", ()))[:take]
                if feature_networks:
                    compared = {
                        name: black_out(video, protocol.region)
                        for name, video in evaluator.compared(
                            _numpy(videos, len(batch["video"]))
                        ).items()
                    }
                    result["features"] = [
                        video_features(network, compared)
                        for network in feature_networks
                    ]
                if action_probe:
                    result["probe"] = probe_answers(
                        action_probe, videos, protocol.prompt_frames
                    )
                results.append({**_numpy(result, take), "action": actions})
                progress.update(take)
    results, first_videos = _concatenate(results), _concatenate(first_videos)
    scores = {"clips": num_clips, "frames": first_videos["truth"].shape[1]}
    scores |= evaluator.summarize(results, group_actions)
    if feature_networks:
        scores["frechet"] = [
            frechet_scores(network, features)
            for network, features in zip(
                feature_networks, results["features"], strict=True
            )
        ]
    if action_probe:
        scores["action_probe"] = probe_scores(
            action_probe,
            results["probe"],
            results["action"],
            results["codes"].get("latent_actions"),
            protocol.prompt_frames,
        )
    return scores, {name: video[:_NUM_VIDEOS] for name, video in first_videos.items()}


def check_model(model: keras.Model) -> None:
    """Raise a ValueError unless a model can be evaluated."""
    _make_evaluator(model)


def check_batch(
    model: keras.Model,
    batch: Mapping[str, np.ndarray],
    protocol: Protocol = DEFAULT_PROTOCOL,
) -> None:
    """Check that a model can be evaluated on clips.

    Raises:
        ValueError: if the clips are too short, lack actions that the model needs, or have
            actions that it does not know; if the region is not inside their frames; or if
            the model can't be evaluated.
    """
    protocol.check_region(*batch["video"].shape[2:4])
    _check(_make_evaluator(model, None, protocol), batch)


def _make_evaluator(
    model: keras.Model,
    sampling: Mapping | None = None,
    protocol: Protocol = DEFAULT_PROTOCOL,
):
    for kind, evaluator in _EVALUATORS.items():
        if isinstance(model, kind):
            return evaluator(model, sampling, protocol)
    raise ValueError(
        "A world, a tokenizer or a latent action model can be evaluated; received a "
        f"{type(model).__name__}."
    )


def _check(evaluator, batch) -> None:
    frames = batch["video"].shape[1]
    if frames < MIN_FRAMES:
        raise ValueError(
            f"Evaluation needs clips of at least {MIN_FRAMES} frames; received {frames}."
        )
    evaluator.check(batch)


def _with_draws(evaluator, batch, seed: int, index: int) -> dict[str, np.ndarray]:
    """Return a batch with its random draws, a function of seed and index."""
    _check(evaluator, batch)
    return {**batch, **evaluator.draws(batch, np.random.default_rng((seed, index)))}


def _numpy(tensors, take: int):
    """Copy the first clips to the host."""
    return keras.tree.map_structure(
        lambda x: ops.convert_to_numpy(x)[:take].copy(), tensors
    )


def _concatenate(parts):
    return keras.tree.map_structure(lambda *x: np.concatenate(x), *parts)
