"""Trained models as folders, which contain no code.

A preset is a folder with a `config.json`, which names the classes and arguments of the
model and its parts, and one `<part>.weights.h5` for each part, whose checksum is in
`config.json`. A Genie has the parts tokenizer, latent_action_model and dynamics; a guided
Genie has no latent_action_model; a part by itself is a preset with one part. `README.md`
shows `config.json` in readable form.

- `model.py`: `PresetModel`, the base class of all models, which registers them by name.
- `folder.py`: finds presets and reads their `config.json`, without Keras.
- `saving.py`, `loading.py`: models to folders and back.
- `weights_file.py`: checks a weights file before Keras reads it.
- `files/`: the presets that ship with genie_tf.
"""
