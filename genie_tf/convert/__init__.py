"""Conversion of other implementations' checkpoints, see docs/originals.md."""

from genie_tf.convert.checkpoint_files import read_checkpoint
from genie_tf.convert.genieredux import convert_genieredux
from genie_tf.convert.jafar import convert_jafar

# Converters by the name of the implementation.
CONVERTERS = {"jafar": convert_jafar, "genieredux": convert_genieredux}
