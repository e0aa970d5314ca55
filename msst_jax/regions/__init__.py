"""Semantic regions: segmentation networks, class selection, mask files and mask composition."""
