"""Networks in Flax NNX and where their weights come from."""
