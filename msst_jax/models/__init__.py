"""Networks in Flax NNX, and how their weights are found, loaded and saved."""
