"""Episodes of Procgen's games: see README.md in this folder."""
