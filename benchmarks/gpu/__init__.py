"""Everything that is claimed of a GPU, measured in the ten minutes that a borrowed one is at hand."""
