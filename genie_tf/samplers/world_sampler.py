"""Plays a world: prompt frames and actions in, frames out, in token space.

Axes: b batch, t time, n patches.
"""

from collections.abc import Mapping

import keras
from keras import ops

from genie_tf.compilation import compiled
from genie_tf.forks import check_can_run
from genie_tf.noise import fold


class WorldSampler:
    """Continues videos frame by frame, from actions.

    What models need of finished frames is cached, so that each frame costs the same.
    One compiled program makes a frame, whatever its place in the video and the settings
    of sampling; the window slides without end. Videos of a batch do not know of each other, and may be of any age.

    The state of a play is a dict of tensors, never changed: keep it to go back to it.

    Args:
        world: a `WorldModel`.

    Raises:
        RuntimeError: when made or used in a process where it would hang, see
            `check_can_run`.
    """

    def __init__(self, world):
        check_can_run()
        self.world = world
        self._reset = compiled(self.start)
        self._step = compiled(self.next_frame)

    def __deepcopy__(self, memo):
        return self  # It never changes.

    def __reduce__(self):
        return WorldSampler, (self.world,)  # Compiled programs can't be pickled.

    def reset(self, prompt, actions=None):
        """The state after a prompt.

        Args:
            prompt: (b, t, height, width, channels), one frame or more, uint8 or float
                in [0, 1].
            actions: int (b, t-1), between the frames of the prompt; inferred if not
                given.

        Returns:
            The state, for `step`; and the prompt as the tokenizer has it, float32 (b, t,
            height, width, channels), in [0, 1].
        """
        check_can_run()
        prompt = ops.convert_to_tensor(prompt)
        if actions is not None:
            actions = ops.convert_to_tensor(actions, "int32")
        return self._reset(prompt, actions)

    def step(self, state, action, seed=0, sampling: Mapping | None = None):
        """The next frame.

        Args:
            state: of `reset`, or of the step before.
            action: int (b,), the latent action to take.
            seed: integer, the same for all frames of a play or not; or one for each
                video, (b,). Equal ones give equal frames.
            sampling: settings of the dynamics, such as {"temperature": 0.0}; others have
                their defaults, see `Dynamics.complete_sampling`.

        Returns:
            The new state, and the frame, float32 (b, height, width, channels), in
            [0, 1].

        Raises:
            ValueError: if there is no such setting.
        """
        check_can_run()
        b = state["position"].shape[0]
        action, seed = (ops.convert_to_tensor(x, "int32") for x in (action, seed))
        sampling = self.world.dynamics.sampling_tensors(sampling)
        return self._step(state, action, ops.broadcast_to(seed, (b,)), sampling)

    def generate(self, prompt, actions, seed=0, sampling: Mapping | None = None):
        """The frames that follow a prompt.

        Args:
            prompt: see `reset`.
            actions: int (b, frames), latent actions in [0, num_actions).
            seed, sampling: see `step`; videos of one batch draw differently, unless
                each is given a seed.

        Returns:
            Video of prompt, as the tokenizer has it, and the frames that follow,
            float32 in [0, 1], (b, t + frames, height, width, channels).
        """
        actions = ops.convert_to_tensor(actions, "int32")
        if not ops.ndim(seed):
            seed = ops.convert_to_tensor(seeds_of_batch(seed, actions.shape[0]))
        state, video = self.reset(prompt)
        frames = [video]
        for i in range(actions.shape[1]):
            state, frame = self.step(state, actions[:, i], seed, sampling)
            frames.append(frame[:, None])
        return ops.concatenate(frames, axis=1)

    # To be part of a larger compiled program.

    def start(self, prompt, actions=None):
        """As `reset`, not compiled."""
        tokens = self.world.tokenizer.tokenize(prompt)
        b, t = ops.shape(tokens)[:2]
        state, frame = self._decode(self.initial_state(tokens[:, 0]), tokens[:, 0])
        video = frame[:, None]
        if tokens.shape[1] == 1:  # Whose program has no dynamics to compile.
            return state, video
        if actions is None:
            actions = self.world.infer_actions(prompt)
        places = ops.arange(t)[:, None, None, None]

        def body(i, carry):
            state, video = carry
            frame = ops.take(tokens, i, axis=1)
            action = ops.take(actions, i - 1, axis=1)
            state, frame = self._decode(self._add(state, frame, action), frame)
            return state, ops.where(places == i, frame[:, None], video)

        video = ops.broadcast_to(video, (b, t, *frame.shape[1:]))
        return ops.fori_loop(1, t, body, (state, video))

    def initial_state(self, tokens):
        """Return the state of a first frame, of tokens int32 (b, n)."""
        b = ops.shape(tokens)[0]
        return {
            "position": ops.zeros((b,), "int32"),
            "dynamics": self.world.dynamics.start(tokens),
            "decoder": self.world.tokenizer.empty_cache(b),
        }

    def next_frame(self, state, action, seed, sampling: Mapping):
        """As `step`, not compiled, with tensors only."""
        state, tokens = self._sample(state, action, seed, sampling)
        return self._decode(state, tokens)

    def play(self, first, actions, seed, sampling: Mapping):
        """The tokens that follow one frame.

        Args:
            first: int32 (b, n), the tokens of the prompt's only frame.
            actions: int32 (b, frames).
            seed: int32 (b,).
            sampling: scalar tensors, see `Dynamics.sampling_tensors`.

        Returns:
            int32 (b, frames, n): those that `generate` makes.
        """
        b, frames = actions.shape
        places = ops.arange(frames)[:, None, None]

        def body(i, carry):
            made, state = carry
            action = ops.take(actions, i, axis=1)
            state, tokens = self._sample(state, action, seed, sampling)
            return ops.where(places == i, tokens, made), state

        made = ops.zeros((frames, b, self.world.dynamics.num_patches), "int32")
        made, _ = ops.fori_loop(0, frames, body, (made, self.initial_state(first)))
        return ops.transpose(made, (1, 0, 2))

    def _add(self, state, tokens, action):
        """Return the state with a known frame in it, not decoded yet."""
        position = state["position"] + 1
        cache = self.world.dynamics.add_frame(
            tokens, self.world.action_vectors(action), state["dynamics"], position
        )
        return {**state, "dynamics": cache, "position": position}

    def _sample(self, state, action, seed, sampling):
        """Return the state with a sampled frame in it, not decoded yet; and its tokens."""
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
        """Return the state with the newest frame decoded; and the frame."""
        frame, decoder = self.world.tokenizer.detokenize_step(
            tokens, state["decoder"], state["position"]
        )
        return {**state, "decoder": decoder}, frame


def seeds_of_batch(seed, b: int):
    """A seed for each video of a batch, int32 (b,)."""
    key = ops.broadcast_to(ops.cast(seed, "uint32"), (b,))
    return ops.cast(fold(key, ops.arange(b)), "int32")


def replace_videos(state, which, other):
    """A state of which some videos are another's, as where they begin anew.

    Args:
        state, other: states of b videos.
        which: bool (b,), the videos to take from `other`.
    """

    def replaced(mine, its):
        # Caches have a row for each patch of a video.
        rows = ops.repeat(which, mine.shape[0] // len(which))
        return ops.where(ops.reshape(rows, (-1, *[1] * (mine.ndim - 1))), its, mine)

    return keras.tree.map_structure(replaced, state, other)
