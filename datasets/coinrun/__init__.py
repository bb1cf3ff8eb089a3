"""CoinRun episodes: see README.md in this folder."""
