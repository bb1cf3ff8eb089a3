"""The latent action model on CoinRun, alone.

genie-train --config=coinrun_lam:tiny --workdir=runs/lam

Codes start after `quantize_after` steps, which with other --config.steps keep their share. To
go on with a finished training for more steps, give --config.model.quantizer.quantize_after too.

On two CPU cores, PSNR of the next frame of 32 validation clips:
`tiny`: 1.7 minutes beside other work; 25.0 dB.
`fast`: 3.8 minutes; 32.0 dB. With --config.dataset=coinrun/random_hard_small
--config.model.num_actions=6: 6.4 minutes next to other work; 27.1 dB.
`paper` has not been trained alone: no duration or score is measured.
"""

from genie_tf.experiments.configs import coinrun_genie
from genie_tf.experiments.configs.common import choose_size, quantizer


def _alone(genie: dict) -> dict:
    """The settings of the latent action model within those of a Genie."""
    config = {name: genie[name] for name in genie.keys() - {"tokenizer", "dynamics"}}
    config["model"] = config.pop("latent_action_model")
    return {**config, "stage": "latent_action_model"}


SIZES = {name: _alone(config) for name, config in coinrun_genie.SIZES.items()}
# Small motions are found as the rate falls, so it does so for longer, and codes start last.
for _name, _quantize_after, _decay_steps in (
    ("tiny", 650, 340),
    ("fast", 3_300, 1_700),
):
    _config = SIZES[_name]
    _config["model"] = {
        **_config["model"],
        "quantizer": quantizer(quantize_after=_quantize_after),
    }
    _config["schedule"] = {**_config["schedule"], "decay_steps": _decay_steps}


def get_config(size: str = "fast"):
    return choose_size(size, **SIZES)
