"""Trained models as folders: what they are, how they came to be, and nothing that runs.

A preset is a folder of `config.json`, which names the class of the model and of each part
with its arguments, and `<part>.weights.h5` for each, with its checksum in the former. A
Genie has the parts tokenizer, latent_action_model and dynamics, a guided one lacks the
second; a part by itself is a preset of one part. `README.md` tells people what
`config.json` says.

- `model.py`: `PresetModel`, the base class of all models, which knows them by name.
- `folder.py`: where presets are and what they say, without Keras.
- `saving.py`, `loading.py`: models to folders and back.
- `weights_file.py`: checks of a file of weights before Keras reads it.
- `files/`: the presets that ship with genie_tf.
"""
