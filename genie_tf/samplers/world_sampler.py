"""Rollouts of world models: frames from prompt frames and actions, in token space.

Axes: b batch, t time, n patches.
"""

from collections.abc import Mapping

import keras
from keras import ops

from genie_tf.compilation import compiled
from genie_tf.forks import check_can_run
from genie_tf.noise import fold


class WorldSampler:
    """Sampler that continues videos frame by frame, from actions.

    Finished frames are cached and the window slides, so each frame costs the same and
    videos have no end. One compiled program serves all positions and sampling settings.
    Videos of a batch are independent and can differ in age.

    The state is a dict of tensors that is never modified: keep it to return to it.

    Args:
        world: a `WorldModel`.

    Raises:
        RuntimeError: if created or used in a process where it would hang, see
            `check_can_run`.

    Example:

    ```python
    sampler = WorldSampler(genie_tf.load("genie_coinrun"))
    state, video = sampler.reset(prompt)  # uint8 (batch, time, 64, 64, 3)
    state, frame = sampler.step(state, action=[0] * len(prompt))
    ```
    """

    def __init__(self, world):
        check_can_run()
        self.world = world
        self._reset = compiled(self.start)
        self._step = compiled(self.next_frame)

    def __deepcopy__(self, memo):
        return self  # It is immutable.

    def __reduce__(self):
        return WorldSampler, (self.world,)  # Compiled programs can't be pickled.

    def reset(self, prompt, actions=None):
        """Return the state after a prompt.

        Args:
            prompt: (b, t, height, width, channels), one frame or more, uint8 or float
                in [0, 1].
            actions: int (b, t-1), actions between the frames of the prompt; inferred by
                default.

        Returns:
            The state, for `step`; and the prompt as reconstructed by the tokenizer,
            float32 (b, t, height, width, channels), in [0, 1].
        """
        check_can_run()
        prompt = ops.convert_to_tensor(prompt)
        if actions is not None:
            actions = ops.convert_to_tensor(actions, "int32")
        return self._reset(prompt, actions)

    def step(self, state, action, seed=0, sampling: Mapping | None = None):
        """Sample the next frame.

        Args:
            state: state from `reset` or from the step before.
            action: int (b,), the latent action to take.
            seed: integer, or one per video, (b,); equal seeds give equal frames. It can
                stay the same for all frames.
            sampling: sampling settings of the dynamics, such as {"temperature": 0.0};
                for defaults see `Dynamics.complete_sampling`.

        Returns:
            The new state, and the frame, float32 (b, height, width, channels), in
            [0, 1].

        Raises:
            ValueError: if a setting is unknown.
        """
        check_can_run()
        b = state["position"].shape[0]
        action, seed = (ops.convert_to_tensor(x, "int32") for x in (action, seed))
        sampling = self.world.dynamics.sampling_tensors(sampling)
        return self._step(state, action, ops.broadcast_to(seed, (b,)), sampling)

    def generate(
        self,
        prompt,
        actions,
        seed=0,
        sampling: Mapping | None = None,
        prompt_actions=None,
    ):
        """Sample the frames that follow a prompt.

        Args:
            prompt: see `reset`.
            actions: int (b, frames), latent actions in [0, num_actions).
            seed: see `step`; a single integer gives each video a different seed.
            sampling: see `step`.
            prompt_actions: see `actions` of `reset`.

        Returns:
            The reconstructed prompt and the frames that follow, float32 in [0, 1], (b,
            t + frames, height, width, channels).
        """
        actions = ops.convert_to_tensor(actions, "int32")
        if not ops.ndim(seed):
            seed = ops.convert_to_tensor(video_seeds(seed, actions.shape[0]))
        state, video = self.reset(prompt, prompt_actions)
        frames = [video]
        for i in range(actions.shape[1]):
            state, frame = self.step(state, actions[:, i], seed, sampling)
            frames.append(frame[:, None])
        return ops.concatenate(frames, axis=1)

    # The methods below can be part of a larger compiled program.

    def start(self, prompt, actions=None):
        """Do what `reset` does, not compiled."""
        tokens = self.world.tokenizer.tokenize(prompt)
        if actions is None and tokens.shape[1] != 1:
            actions = self.world.infer_actions(prompt)
        return self.add_known_frames(tokens, prompt[:, 0], actions)

    def add_known_frames(self, tokens, first, actions):
        """Return the state after known frames, and these as decoded.

        Args:
            tokens: int32 (b, t, n), one frame or more.
            first: (b, height, width, channels), the first frame itself.
            actions: int32 (b, t-1), actions between the frames; None if t = 1.
        """
        b, t = ops.shape(tokens)[:2]
        state, frame = self.first_frame(tokens[:, 0], first)
        video = frame[:, None]
        if tokens.shape[1] == 1:  # Saves compiling the dynamics.
            return state, video
        indices = ops.arange(t)[:, None, None, None]

        def body(i, carry):
            state, video = carry
            frame = ops.take(tokens, i, axis=1)
            action = ops.take(actions, i - 1, axis=1)
            state, frame = self._decode(self._add_frame(state, frame, action), frame)
            return state, ops.where(indices == i, frame[:, None], video)

        video = ops.broadcast_to(video, (b, t, *frame.shape[1:]))
        return ops.fori_loop(1, t, body, (state, video))

    def first_frame(self, tokens, frame):
        """Return the state of a first frame, and the frame as decoded.

        Args:
            tokens: int32 (b, n).
            frame: (b, height, width, channels), uint8 or float in [0, 1].
        """
        dynamics = self.world.dynamics
        frame, decoder = self.world.tokenizer.detokenize_first(tokens, frame)
        state = {
            "position": ops.zeros((ops.shape(tokens)[0],), "int32"),
            "dynamics": dynamics.see_frame(frame, tokens, dynamics.start(tokens)),
            "decoder": decoder,
        }
        return state, frame

    def next_frame(self, state, action, seed, sampling: Mapping):
        """Do what `step` does, not compiled, with tensors only."""
        state, tokens = self._sample(state, action, seed, sampling)
        return self._decode(state, tokens)

    def play(self, state, actions, seed, sampling: Mapping, others=None):
        """Sample the frames that follow a state, as in `generate`.

        Args:
            state: state of the frames so far.
            actions: int32 (b, frames).
            seed: int32 (b,).
            sampling: scalar tensors, see `Dynamics.sampling_tensors`.
            others: int32 (b, frames), actions to take once, each after the `actions`
                before it.

        Returns:
            The frames after `actions`, float32 (b, frames, height, width, channels); with
            `others`, also the frame after each of these, the same shape.
        """
        b, frames = actions.shape
        indices = ops.arange(frames)[:, None, None, None]
        played = (actions,) if others is None else (actions, others)

        def body(i, carry):
            videos, state = carry
            nexts = [
                self.next_frame(state, ops.take(x, i, axis=1), seed, sampling)
                for x in played
            ]
            videos = tuple(
                ops.where(indices == i, frame[:, None], video)
                for video, (_, frame) in zip(videos, nexts, strict=True)
            )
            return videos, nexts[0][0]

        blank = ops.zeros((b, frames, *self.world.tokenizer.frame_shape))
        videos, _ = ops.fori_loop(0, frames, body, (len(played) * (blank,), state))
        return videos[0] if others is None else videos

    def _add_frame(self, state, tokens, action):
        """Return the state with a known frame added, not decoded yet."""
        position = state["position"] + 1
        cache = self.world.dynamics.add_frame(
            tokens, self.world.action_vectors(action), state["dynamics"], position
        )
        return {**state, "dynamics": cache, "position": position}

    def _sample(self, state, action, seed, sampling):
        """Return the state with a sampled frame added, not decoded, and its tokens."""
        position = state["position"] + 1
        tokens, cache = self.world.dynamics.sample_frame(
            self.world.action_vectors(action),
            state["dynamics"],
            position,
            fold(ops.cast(seed, "uint32"), position),
            sampling,
            self.world.tokenizer.grid,
        )
        return {**state, "dynamics": cache, "position": position}, tokens

    def _decode(self, state, tokens):
        """Return the state with the newest frame decoded, and that frame."""
        frame, decoder = self.world.tokenizer.detokenize_step(
            tokens, state["decoder"], state["position"]
        )
        dynamics = self.world.dynamics.see_frame(frame, tokens, state["dynamics"])
        return {**state, "decoder": decoder, "dynamics": dynamics}, frame


def video_seeds(seed, b: int):
    """Return a different seed for each video of a batch, int32 (b,)."""
    key = ops.broadcast_to(ops.cast(seed, "uint32"), (b,))
    return ops.cast(fold(key, ops.arange(b)), "int32")


def replace_videos(state, which, other):
    """Return a state with some videos taken from another state, as for a reset.

    Args:
        state: state of b videos.
        which: bool (b,), the videos to take from `other`.
        other: another state of b videos.
    """

    def replace(old, new):
        # Caches can have several rows per video.
        rows = ops.repeat(which, old.shape[0] // len(which))
        return ops.where(ops.reshape(rows, (-1, *[1] * (old.ndim - 1))), new, old)

    return keras.tree.map_structure(replace, state, other)
