"""Training tasks: the feed-forward stylizer, the person segmenter."""
