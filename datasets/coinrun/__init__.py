"""CoinRun dataset; see README.md in this folder."""
