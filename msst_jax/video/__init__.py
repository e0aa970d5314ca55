"""Frames to frames: batching, temporal masks, flow-warped smoothing, resumable streaming."""
