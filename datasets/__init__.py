"""Datasets of genie_tf. Importing this package registers them with TFDS:

```python
import genie_tf.datasets
import tensorflow_datasets as tfds

episodes = tfds.load("coinrun/random_hard_small", split="train")
```
"""

import importlib.util

# Array datasets do not need TFDS.
if importlib.util.find_spec("tensorflow_datasets"):
    from genie_tf.datasets.coinrun import coinrun_dataset_builder as _coinrun
    from genie_tf.datasets.procgen import procgen_dataset_builder as _procgen
