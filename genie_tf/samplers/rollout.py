"""Playing a world: prompt frames and actions in, frames out, in token space.

Axes: b batch, t time, n patches.
"""

import keras
from keras import ops

from genie_tf.compilation import compiled
from genie_tf.forks import check_can_run
from genie_tf.noise import fold
from genie_tf.samplers.maskgit_sampler import Sampling, sample_frame

_DEFAULT = Sampling()


class Rollout:
    """Continues videos frame by frame, from actions.

    Keys and values of finished frames are cached, so that each decoding step runs the
    tokens of the frame being made and no others. One compiled program makes a frame,
    whatever its place in the video and the settings of sampling; the window slides
    without end. Videos of a batch do not know of each other, and may be of any age.

    The state of a play is a dict of tensors, never changed: keep it to go back to it.

    Args:
        genie: a `Genie` or `GuidedGenie`.

    Raises:
        RuntimeError: when made or used in a process where it would hang, see
            `check_can_run`.
    """

    def __init__(self, genie):
        check_can_run()
        self.genie = genie
        self._reset = compiled(self.start)
        self._step = compiled(self.next_frame)

    def __deepcopy__(self, memo):
        return self  # It never changes.

    def __reduce__(self):
        return Rollout, (self.genie,)  # Compiled programs can't be pickled.

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

    def step(self, state, action, seed=0, sampling: Sampling = _DEFAULT):
        """The next frame.

        Args:
            state: of `reset`, or of the step before.
            action: int (b,), the latent action to take.
            seed: integer, the same for all frames of a play or not; or one for each
                video, (b,). Equal ones give equal frames.
            sampling: how to fill in the frame; of numbers.

        Returns:
            The new state, and the frame, float32 (b, height, width, channels), in
            [0, 1].

        Raises:
            ValueError: if there is no such sampling.
        """
        check_can_run()
        b = state["position"].shape[0]
        action, seed = (ops.convert_to_tensor(x, "int32") for x in (action, seed))
        return self._step(
            state, action, ops.broadcast_to(seed, (b,)), sampling.as_tensors()
        )

    def generate(self, prompt, actions, seed=0, sampling: Sampling = _DEFAULT):
        """The frames that follow a prompt.

        Args:
            prompt: as of `reset`.
            actions: int (b, frames), latent actions in [0, num_actions).
            seed, sampling: as of `step`; videos of one batch draw differently, unless
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
        tokens = self.genie.tokenizer.tokenize(prompt)
        b, t = ops.shape(tokens)[:2]
        no_action = ops.zeros((b,), "int32")
        state, frame = self._show(self.before_any(b), tokens[:, 0], no_action)
        video = frame[:, None]
        if tokens.shape[1] == 1:  # Whose program has no dynamics to compile.
            return state, video
        if actions is None:
            actions = self.genie.infer_actions(prompt)
        places = ops.arange(t)[:, None, None, None]

        def body(i, carry):
            state, video = carry
            frame = ops.take(tokens, i, axis=1)
            action = ops.take(actions, i - 1, axis=1)
            state, frame = self._show(self._remember(state), frame, action)
            return state, ops.where(places == i, frame[:, None], video)

        video = ops.broadcast_to(video, (b, t, *frame.shape[1:]))
        return ops.fori_loop(1, t, body, (state, video))

    def before_any(self, b: int):
        """The state of no frame."""
        n = self.genie.dynamics.num_patches
        return {
            # Of a frame before the first, which nothing sees.
            "tokens": ops.full((b, n), self.genie.dynamics.num_codes, "int32"),
            "action": ops.zeros((b,), "int32"),
            "position": ops.full((b,), -1, "int32"),
            "dynamics": self.genie.dynamics.empty_cache(b),
            "decoder": self.genie.tokenizer.decoder.empty_cache(b, n),
        }

    def next_frame(self, state, action, seed, sampling: Sampling):
        """As `step`, not compiled, with tensors alone."""
        state = self._remember(state)
        return self._show(state, self._sample(state, action, seed, sampling), action)

    def play(self, first, actions, seed, sampling: Sampling):
        """The tokens that follow one frame.

        Args:
            first: int32 (b, n), the tokens of the prompt's only frame.
            actions: int32 (b, frames).
            seed: int32 (b,).
            sampling: of tensors.

        Returns:
            int32 (b, frames, n): those that `generate` makes.
        """
        b, frames = actions.shape
        places = ops.arange(frames)[:, None, None]

        def body(i, carry):
            made, state = carry
            state = self._remember(state)
            action = ops.take(actions, i, axis=1)
            tokens = self._sample(state, action, seed, sampling)
            state = self._shown(state, tokens, action)
            return ops.where(places == i, tokens, made), state

        made = ops.zeros((frames, b, self.genie.dynamics.num_patches), "int32")
        state = self._shown(self.before_any(b), first, ops.zeros((b,), "int32"))
        made, _ = ops.fori_loop(0, frames, body, (made, state))
        return ops.transpose(made, (1, 0, 2))

    def _remember(self, state):
        """The state with the newest frame in the cache of the dynamics.

        Not done before the next frame is asked for, as none may follow.
        """
        dynamics, cache = self.genie.dynamics, state["dynamics"]
        vectors = self.genie.action_vectors(state["action"])
        known = ops.zeros_like(state["tokens"], dtype="bool")
        frame = state["tokens"], vectors, known, cache, state["position"]
        _, entry = dynamics.step(*frame)
        return {**state, "dynamics": dynamics.write(cache, entry, state["position"])}

    def _sample(self, state, action, seed, sampling):
        dynamics, position = self.genie.dynamics, state["position"] + 1
        vectors = self.genie.action_vectors(action)
        return sample_frame(
            lambda tokens, masked: dynamics.step(
                tokens, vectors, masked, state["dynamics"], position
            )[0],
            self.genie.tokenizer.grid_shape[:2],
            fold(ops.cast(seed, "uint32"), position),
            sampling,
        )

    def _shown(self, state, tokens, action):
        """The state with one more frame, not yet in the caches."""
        position = state["position"] + 1
        return {**state, "tokens": tokens, "action": action, "position": position}

    def _show(self, state, tokens, action):
        state = self._shown(state, tokens, action)
        frame, decoder = self.genie.tokenizer.detokenize_step(
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
