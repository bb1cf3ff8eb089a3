"""Datasets of Procgen games; see README.md in this folder."""
