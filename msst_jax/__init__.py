"""Multi-Style Semantic Style Transfer in JAX."""

import os.path

# A wheel has presets, examples and the converter inside of the package; in a clone they lie beside it, and every clone
# must take its own, whether it is installed or not.
_HERE = os.path.dirname(__file__)
_CLONE = os.path.dirname(_HERE)
if not os.path.exists(f"{_HERE}/configs") and os.path.exists(f"{_CLONE}/configs/photo.py"):
    __path__.append(_CLONE)
