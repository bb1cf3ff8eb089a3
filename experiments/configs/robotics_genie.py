"""Latent action model and dynamics on Robotics (Genie, sections 3.2 and 3.4).

genie-train --config=robotics_genie:2.5b --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model

`2.5b` is the paper's model; `1b` and `1b_token_input` are its comparison of the latent
action model's inputs (table 2). The paper says that the settings are those of Platformers,
and does not report which size: 2.5 and 1 billion are 2.3b_256 and 811m of
`platformers_genie` together with the tokenizer. None has been trained. The data are as in
`robotics_tokenizer`.
"""

from genie_tf.experiments.configs import platformers_genie
from genie_tf.experiments.configs.common import choose_size
from genie_tf.experiments.configs.robotics_tokenizer import DATA

_1B = {**platformers_genie.SIZES["811m"], **DATA}

SIZES = {
    "2.5b": {**platformers_genie.SIZES["2.3b_256"], **DATA},
    "1b": _1B,
    "1b_token_input": platformers_genie.with_token_input(_1B),
}


def get_config(size: str = "2.5b"):
    return choose_size(size, **SIZES)
