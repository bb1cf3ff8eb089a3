"""CoinRun as a TFDS dataset of RLDS episodes: a Procgen game under its own name."""

import dataclasses

import tensorflow_datasets as tfds
from etils import epath

from genie_tf.datasets.procgen import procgen_dataset_builder


@dataclasses.dataclass(eq=False, kw_only=True)
class CoinRunConfig(procgen_dataset_builder.ProcgenConfig):
    """`ProcgenConfig` for CoinRun."""

    game: str = dataclasses.field(default="coinrun", init=False)


class Builder(procgen_dataset_builder.Builder):
    """Builder that plays CoinRun; nothing is downloaded.

    Shards are made in parallel, by default one per core; the environment variable
    COINRUN_WORKERS sets another number. If a build is stopped, the next one resumes it.
    """

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES = {
        "2.1.0": "Theme of each level; frames unchanged.",
        "2.0.0": "Episodes in the order of their levels; smaller frames.",
        "1.0.0": "Initial release.",
    }
    BUILDER_CONFIGS = CoinRunConfig.make_all("coinrun")
    # TFDS would look in genie_tf/, which lacks this folder in an editable install.
    pkg_dir_path = epath.Path(__file__).parent
