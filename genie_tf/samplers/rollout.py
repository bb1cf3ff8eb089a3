"""Playing a world: prompt frames and actions in, frames out, in token space.

Axes: b batch, t time, n patches.
"""

from keras import ops

from genie_tf.compilation import compiled
from genie_tf.samplers.maskgit_sampler import sample_frame


class Rollout:
    """Continues videos token by token, frame by frame, from actions.

    Keys and values of finished frames are cached, so that each decoding step runs
    the tokens of the frame being made and no others. One compiled program makes a
    frame, whatever its place in the video; the window slides without end. `detokenize`
    is the tokenizer's, compiled.

    Args:
        genie: a `Genie` or `GuidedGenie`.
        num_steps: MaskGIT steps a frame.
        temperature: of the tokens' distribution; 0 takes the likeliest.
        choice_temperature: scale of the noise on confidences.
    """

    def __init__(
        self,
        genie,
        num_steps: int = 8,
        temperature: float = 1.0,
        choice_temperature: float = 4.5,
    ):
        self.genie = genie
        self.num_steps = num_steps
        self.temperature = temperature
        self.choice_temperature = choice_temperature
        self._tokenize = compiled(genie.tokenizer.tokenize)
        self.detokenize = compiled(genie.tokenizer.detokenize)
        self._infer_actions = compiled(genie.infer_actions)
        self._remember = compiled(self._remember_frame)
        self._sample = compiled(self._sample_frame)

    def generate(self, prompt, actions, seed: int = 0):
        """The frames that follow a prompt.

        Args:
            prompt: (batch, time, height, width, channels), one frame or more, uint8
                or float in [0, 1]; actions between several are inferred.
            actions: int (batch, frames), latent actions in [0, num_actions).
            seed: equal seeds give equal videos.

        Returns:
            Video of prompt, as the tokenizer has it, and the frames that follow,
            float32 in [0, 1], (batch, time + frames, height, width, channels).
        """
        tokens = self._tokenize(prompt)
        between = (
            self._infer_actions(prompt)
            if prompt.shape[1] > 1
            else ops.zeros((prompt.shape[0], 0), "int32")
        )
        return self.detokenize(self.generate_tokens(tokens, between, actions, seed))

    def generate_tokens(self, tokens, between, actions, seed: int = 0):
        """As `generate`, with tokens for frames.

        Args:
            tokens: int32 (b, t, n), of the prompt.
            between: int32 (b, t-1), latent actions between the prompt's frames.
            actions: int (b, frames).
            seed: equal seeds give equal tokens.

        Returns:
            int32 (b, t + frames, n).
        """
        actions = ops.convert_to_tensor(actions, "int32")
        b, t, n = tokens.shape
        cache = self.genie.dynamics.empty_cache(b)
        # The first frame has no action: any will do, and `step` leaves it out.
        led = ops.concatenate([ops.zeros((b, 1), "int32"), between, actions], axis=1)
        frames = [tokens[:, i] for i in range(t)]
        for i in range(1, led.shape[1]):
            before, position = (ops.convert_to_tensor(k, "int32") for k in (i - 1, i))
            cache = self._remember(frames[i - 1], led[:, i - 1], cache, before)
            if i >= t:
                frames.append(
                    self._sample(led[:, i], cache, position, ops.cast(seed, "int32"))
                )
        return ops.stack(frames, axis=1)

    def play(self, first, actions, seed):
        """The tokens that follow one frame, to be part of a larger compiled program.

        Args:
            first: int32 (b, n), the tokens of the prompt's only frame.
            actions: int32 (b, frames).
            seed: int32 scalar.

        Returns:
            int32 (b, frames, n), equal to what `generate_tokens` makes of them.
        """
        b, frames = actions.shape
        # One more in front, as the first frame has no action.
        led = ops.pad(actions, [(0, 0), (1, 0)])
        places = ops.arange(frames)[:, None, None]

        def body(i, state):
            made, last, cache = state
            cache = self._remember_frame(last, ops.take(led, i, axis=1), cache, i)
            action = ops.take(led, i + 1, axis=1)
            last = self._sample_frame(action, cache, i + 1, seed)
            return ops.where(places == i, last, made), last, cache

        made = ops.zeros((frames, b, self.genie.dynamics.num_patches), "int32")
        state = made, first, self.genie.dynamics.empty_cache(b)
        made, _, _ = ops.fori_loop(0, frames, body, state)
        return ops.transpose(made, (1, 0, 2))

    def _sample_frame(self, action, cache, position, seed):
        action = self.genie.action_vectors(action)
        dynamics = self.genie.dynamics
        return sample_frame(
            lambda tokens, masked: dynamics.step(
                tokens, action, masked, cache, position
            )[0],
            action.shape[0],
            dynamics.num_patches,
            seed * 1_000_003 + position,
            self.num_steps,
            self.temperature,
            self.choice_temperature,
        )

    def _remember_frame(self, tokens, action, cache, position):
        action = self.genie.action_vectors(action)
        known = ops.zeros_like(tokens, dtype="bool")
        return self.genie.dynamics.step(tokens, action, known, cache, position)[1]
