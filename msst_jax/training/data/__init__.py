"""Training data: photo and mask sources, augmentation, the input pipeline."""
