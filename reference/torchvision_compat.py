"""torchvision for tests and benchmarks: `from reference.torchvision_compat import torchvision`.

A CUDA build beside a CPU build of torch does not import as it is; see `import_torchvision`.
"""

from convert_weights.torch_compat import import_torchvision

torchvision = import_torchvision()
