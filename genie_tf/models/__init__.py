"""The parts of Genie, and Genie."""

from genie_tf.models.dynamics import Dynamics
from genie_tf.models.genie import Genie, GuidedGenie, World
from genie_tf.models.latent_action_model import LatentActionModel
from genie_tf.models.video_tokenizer import VideoTokenizer
