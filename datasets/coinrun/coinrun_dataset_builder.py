"""CoinRun as a TFDS dataset of RLDS episodes: a game of Procgen, under its own name."""

import dataclasses

import tensorflow_datasets as tfds
from etils import epath

from genie_tf.datasets.procgen import procgen_dataset_builder


@dataclasses.dataclass(eq=False, kw_only=True)
class CoinRunConfig(procgen_dataset_builder.ProcgenConfig):
    """`ProcgenConfig` of CoinRun."""

    game: str = dataclasses.field(default="coinrun", init=False)


class Builder(procgen_dataset_builder.Builder):
    """Builds CoinRun by playing it: nothing is downloaded.

    Shards are made side by side, as many as the environment variable COINRUN_WORKERS
    says, by default one for each core. If a build is stopped, the next one resumes it.
    """

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES = {
        "2.1.0": "The theme of each level; frames as before.",
        "2.0.0": "Episodes in the order of their levels; smaller frames.",
        "1.0.0": "Initial release.",
    }
    BUILDER_CONFIGS = CoinRunConfig.make_all("coinrun")
    # TFDS would look below genie_tf/, where an editable install has no such folder.
    pkg_dir_path = epath.Path(__file__).parent
