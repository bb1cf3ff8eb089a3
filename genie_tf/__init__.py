"""Generative interactive environments (Genie) in TensorFlow and Keras.

```python
import genie_tf

genie = genie_tf.load("genie_coinrun")
```
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genie_tf.export import saved_model
    from genie_tf.models import Genie, VideoTokenizer
    from genie_tf.models import load_preset as load
    from genie_tf.presets.folder import list_presets

__version__ = "0.1.0"

__all__ = ["Genie", "VideoTokenizer", "list_presets", "load", "saved_model"]

# Module and attribute of each public name. They are imported on first use, so that
# `import genie_tf` is fast: Keras takes seconds.
_EXPORTS = {
    "Genie": ("genie_tf.models", "Genie"),
    "VideoTokenizer": ("genie_tf.models", "VideoTokenizer"),
    "list_presets": ("genie_tf.presets.folder", "list_presets"),
    "load": ("genie_tf.models", "load_preset"),
    "saved_model": ("genie_tf.export", "saved_model"),
}


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
