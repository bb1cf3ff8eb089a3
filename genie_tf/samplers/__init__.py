"""From logits to frames: mask schedule, MaskGIT decoding, rollouts."""

from genie_tf.samplers.mask_schedule import cosine_schedule, num_left_masked
from genie_tf.samplers.maskgit_sampler import (
    ORDERS,
    Sampling,
    halton_order,
    maskgit_step,
    sample_frame,
)
from genie_tf.samplers.rollout import Rollout, replace_videos, seeds_of_batch
