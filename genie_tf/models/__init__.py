"""Genie and its parts: tokenizers, latent action models, dynamics models."""

from genie_tf.models.action_model import ActionModel
from genie_tf.models.causal_dynamics import CausalDynamics
from genie_tf.models.delta_dynamics import DeltaDynamics
from genie_tf.models.delta_tokenizer import DeltaTokenizer
from genie_tf.models.dynamics import Dynamics
from genie_tf.models.genie import Genie, GuidedGenie, WorldModel
from genie_tf.models.latent_action_model import LatentActionModel
from genie_tf.models.maskgit_dynamics import MaskGitDynamics
from genie_tf.models.redux_dynamics import ReduxDynamics
from genie_tf.models.tokenizer import Tokenizer
from genie_tf.models.trainable_model import TrainableModel
from genie_tf.models.video_tokenizer import VideoTokenizer
from genie_tf.presets.loading import load_preset
