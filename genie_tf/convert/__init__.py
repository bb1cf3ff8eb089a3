"""Conversion of other implementations' checkpoints, see docs/originals.md."""

from genie_tf.convert.checkpoint_files import read_checkpoint
from genie_tf.convert.genieredux import convert_genieredux
from genie_tf.convert.jafar import convert_jafar
from genie_tf.convert.jasmine import convert_jasmine

# Converters by the name of the implementation.
CONVERTERS = {
    "jafar": convert_jafar,
    "jasmine": convert_jasmine,
    "genieredux": convert_genieredux,
}
