"""Scores of tokenizers, latent action models and worlds."""

from genie_tf.evaluation.evaluator import check_batch, check_model, evaluate
from genie_tf.evaluation.world_evaluator import PREDICTED_FRAMES, hold_actions
