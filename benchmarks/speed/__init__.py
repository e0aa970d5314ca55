"""Speed and peak-memory benchmarks against PyTorch."""
