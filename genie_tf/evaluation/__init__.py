"""How good a model is: all scores of a tokenizer, of latent actions, of a world."""

from genie_tf.evaluation.evaluator import check_batch, check_model, evaluate
from genie_tf.evaluation.world_evaluator import PREDICTED_FRAMES, hold_actions
