"""Quality of the results: stylized pictures, segmentation accuracy and temporal flicker."""
