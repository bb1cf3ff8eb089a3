"""Dataset of a user's own videos; see README.md in this folder."""
