"""What XLA plans for a GPU that is not there: its programs compiled on a CPU, for the description of an H100."""
