"""A world in the browser: a server that runs the model, and the page that plays it."""

from genie_tf.play.server import PlayServer, bind, is_loopback, web_server
from genie_tf.play.simulator import Simulator
