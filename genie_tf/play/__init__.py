"""Play a world in the browser: a server that runs the model, and its page."""

from genie_tf.play.app import make_app
from genie_tf.play.guard import check_origin, check_root_path
from genie_tf.play.host import Host
from genie_tf.play.network import bind, is_loopback, web_server
from genie_tf.play.simulator import Simulator
