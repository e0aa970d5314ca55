"""Quality of the results: segmentation accuracy and temporal flicker."""
