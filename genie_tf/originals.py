"""Arguments with which our models are those of Jafar, Jasmine and GenieRedux.

`genie-convert` and the published configs share them. Nothing is imported, so that configs
stay fast. docs/originals.md describes them.
"""

# Options of a transformer, see `TransformerOptions`. Flax's layer norms have this epsilon.
JAFAR_TRANSFORMER = {
    "space_position": "sinusoidal",
    "time_position": "sinusoidal",
    "feed_forward": "single",
    "bias": "all",
    "norm_epsilon": 1e-6,
    "entry": True,
    "last_norm": False,
}
JASMINE_TRANSFORMER = {
    "space_position": "sinusoidal_input",
    "time_position": "sinusoidal_input",
    "bias": "all",
    "norm_epsilon": 1e-6,
    "entry": True,
    "last_norm": False,
}
# Without `grid`, `space_bias_dim` and `order`, which are not the same in all. PyTorch's
# layer norms have this epsilon.
GENIEREDUX_TRANSFORMER = {
    "space_position": "none",
    "time_position": "alibi",
    "peg": True,
    "feed_forward": "geglu",
    "bias": "none",
    "norm_keys": False,
    "norm_epsilon": 1e-5,
}
# The dynamics has the order of an encoder.
GENIEREDUX_ORDERS = {"encoder": "sftf", "decoder": "tfsf"}

# Arguments of a `VectorQuantizer`. Jafar and Jasmine drop codes of tokens in training, and
# replace an action that no clip used for 50 steps; GenieRedux only creates codes of unit
# length.
_CODES = {"centered": False, "data_init": False, "idle_limit": None}
JAFAR_CODES = {**_CODES, "dropout": 0.01}
JAFAR_ACTION_CODES = {**_CODES, "idle_limit": 49, "move_to": "codes"}
JASMINE_CODES = {**JAFAR_CODES, "unit_codes": "compared"}
JASMINE_ACTION_CODES = {**JAFAR_ACTION_CODES, "unit_codes": "compared"}
GENIEREDUX_CODES = {**_CODES, "unit_codes": "never"}

# Arguments of a `VideoTokenizer`, a `LatentActionModel` and the dynamics.
JAFAR_ACTIONS = {"sees_change": False, "predicts": "frame", "action_from": "token"}
JAFAR_DYNAMICS = {"sees_previous": False, "predicts": "token"}
JASMINE_DYNAMICS = {**JAFAR_DYNAMICS, "conditioning": "token"}
GENIEREDUX_TOKENIZER = {"output": "linear", "own_first_frame": True}
GENIEREDUX_ACTIONS = {
    "sees_change": False,
    "predicts": "linear_frame",
    "action_from": "patches",
    "own_first_frame": True,
}
# Its code takes one greedy step per frame, whatever the number of steps.
GENIEREDUX_SAMPLING = {"temperature": 0.0}
