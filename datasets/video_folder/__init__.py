"""Videos of one's own as a dataset: see README.md in this folder."""
