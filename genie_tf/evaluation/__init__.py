"""Scores of tokenizers, latent action models and worlds."""

from genie_tf.evaluation.evaluator import check_batch, check_model, evaluate
from genie_tf.evaluation.protocol import Protocol
from genie_tf.evaluation.world_evaluator import hold_actions
