"""Sampling: mask schedule, MaskGIT decoding, rollouts of world models."""

from genie_tf.samplers.mask_schedule import cosine_schedule, num_left_masked
from genie_tf.samplers.maskgit_sampler import halton_order, maskgit_step, sample_frame
from genie_tf.samplers.world_sampler import WorldSampler, replace_videos, video_seeds
