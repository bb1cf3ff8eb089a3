"""Code shared by all command-line programs: flags, input checks, and how they run."""

from genie_tf.experiments.cli.checks import (
    UserError,
    check_folder,
    check_frames,
    check_installed,
    check_preset,
    import_keras,
    make_folder,
    user_errors,
)
from genie_tf.experiments.cli.commands import run_module
from genie_tf.experiments.cli.flags import (
    define_config,
    define_device_flags,
    define_path,
    define_sampling_flags,
    sampling,
)
from genie_tf.experiments.cli.program import prepare, run
from genie_tf.experiments.cli.prompts import (
    define_prompt_flags,
    parse_actions,
    read_prompt,
)
