"""Video tokenizer on Robotics (Genie, section 3.2).

genie-train --config=robotics_tokenizer:paper --workdir=runs/tokenizer

All settings but the data are as in `platformers_tokenizer`, as in the paper. Not trained:
no duration or score has been measured. The data are RT-1, without the simulated episodes
and the 209,000 earlier real ones of the paper. It does not report the size of the frames:
here they are scaled and cropped to that of Platformers.
"""

from genie_tf.experiments.configs import platformers_tokenizer
from genie_tf.experiments.configs.common import choose_size

DATA = {
    "dataset": "fractal20220817_data:0.1.0",
    "train_split": "train[:99%]",
    "validation_split": "train[99%:]",
    "resize": True,
}
SIZES = {"paper": {**platformers_tokenizer.SIZES["paper"], **DATA}}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
