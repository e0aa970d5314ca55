"""PyTorch reference implementations and comparison cases shared by tests/ and benchmarks/."""
