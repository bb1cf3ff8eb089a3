"""Comparison of converted models with what the original code computed."""

from collections.abc import Mapping

import numpy as np
from keras import ops

from genie_tf.models import WorldModel
from genie_tf.samplers import WorldSampler


def compare_world(
    world: WorldModel, recorded: Mapping[str, np.ndarray], reencodes: bool = False
) -> dict[str, float]:
    """Return the differences between a world and the original code.

    Args:
        world: the converted world.
        recorded: arrays from the original code: `video`, (b, t, height, width, channels);
            `tokens`, (b, t, n); `reconstruction`; `actions`, (b, t-1); `prediction`, of
            frames 2..t, if it has a latent action model; `mask`, (b, t, n), and the
            `logits` for the tokens so masked, of the last frames; `played`, (b, frames),
            actions; and `rollout`, the frames that follow the first of the video, with
            one greedy step each.
        reencodes: whether the original decodes each new frame alone and encodes all
            frames again for the next (Jafar).

    Returns:
        A dict: numbers of tokens and actions that differ, and the largest differences of
        logits and pixels.
    """
    video = recorded["video"]
    tokens = ops.convert_to_numpy(world.tokenizer.tokenize(video))
    reconstruction = world.tokenizer(video)["reconstruction"]
    differences = {
        "tokens": _num_different(tokens, recorded["tokens"]),
        "reconstruction": _largest(reconstruction, recorded["reconstruction"]),
    }
    if world.infers_actions:
        outputs = world.latent_action_model(video)
        differences |= {
            "actions": _num_different(outputs["indices"], recorded["actions"]),
            "prediction": _largest(outputs["prediction"], recorded["prediction"]),
        }
    batch = {"video": video, "mask": recorded["mask"], "action": recorded["actions"]}
    logits = ops.convert_to_numpy(world.compute_outputs(batch)["logits"])
    expected = recorded["logits"]
    differences["logits"] = _largest(logits[:, -expected.shape[1] :], expected)
    rollout = (_reencoded_rollout if reencodes else _rollout)(world, recorded)
    expected = np.clip(recorded["rollout"], 0, 1)
    return {**differences, "rollout": _largest(rollout, expected)}


def _rollout(world: WorldModel, recorded: Mapping):
    sampler = WorldSampler(world)
    state, _ = sampler.start(ops.convert_to_tensor(recorded["video"][:, :1]))
    frames = []
    for action in recorded["played"].T:
        state, frame = _step(sampler, state, action)
        frames.append(ops.convert_to_numpy(frame))
    return np.stack(frames, axis=1)


def _reencoded_rollout(world: WorldModel, recorded: Mapping):
    """Play as Jafar: each frame is decoded alone, and then encoded with all before."""
    sampler, frames = WorldSampler(world), recorded["video"][:, :1]
    for t in range(recorded["played"].shape[1]):
        actions = recorded["played"][:, : t + 1]
        state, _ = sampler.start(
            ops.convert_to_tensor(frames), ops.convert_to_tensor(actions[:, :-1])
        )
        state, _ = _step(sampler, state, actions[:, -1])
        frame = world.tokenizer.detokenize(state["dynamics"]["tokens"][:, None])
        frames = np.concatenate([frames, ops.convert_to_numpy(frame)], axis=1)
    return frames[:, 1:]


def _step(sampler: WorldSampler, state: dict, action: np.ndarray):
    """Sample the next frame in one greedy step. A few frames need no compilation."""
    dynamics = sampler.world.dynamics
    settings = {"temperature": 0.0}
    if any(setting.name == "num_steps" for setting in dynamics.sampling_settings):
        settings["num_steps"] = 1
    return sampler.next_frame(
        state,
        ops.convert_to_tensor(action, "int32"),
        ops.zeros(len(action), "int32"),
        dynamics.sampling_tensors(settings),
    )


def _num_different(ours, theirs) -> int:
    return int(np.sum(ops.convert_to_numpy(ours) != theirs))


def _largest(ours, theirs) -> float:
    return float(np.max(np.abs(ops.convert_to_numpy(ours) - theirs)))
