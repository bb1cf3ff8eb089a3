"""Latent action model on CoinRun, trained by itself.

genie-train --config=coinrun_lam:tiny --workdir=runs/lam

Quantization starts after `quantize_after` steps, which scale with --config.steps. To
train a finished run for more steps, also pass --config.model.quantizer.quantize_after.

On two CPU cores, PSNR of the next frame of 32 validation clips:
`tiny`: 1.7 minutes next to other work; 25.0 dB.
`fast`: 3.8 minutes; 32.0 dB. With --config.dataset=coinrun/random_hard_small
--config.model.num_actions=6: 6.4 minutes next to other work; 27.1 dB.
`paper` and `plain_tiny` have not been trained by themselves: no duration or score has
been measured. Genie trains `paper` together with its dynamics (`coinrun_genie:paper`);
Jafar trains its own by itself (`jafar_lam`).
"""

from genie_tf.experiments.configs import coinrun_genie
from genie_tf.experiments.configs.common import choose_size, quantizer


def _latent_action_stage(genie: dict) -> dict:
    """Return the settings that train only the latent action model of a Genie."""
    config = {name: genie[name] for name in genie.keys() - {"tokenizer", "dynamics"}}
    config["model"] = config.pop("latent_action_model")
    return {**config, "stage": "latent_action_model"}


SIZES = {
    name: _latent_action_stage(config) for name, config in coinrun_genie.SIZES.items()
}
# Small motions are learned as the rate falls, so it falls longer, and codes start late.
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
