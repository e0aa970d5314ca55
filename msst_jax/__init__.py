"""Multi-Style Semantic Style Transfer in JAX."""

from pathlib import Path

# A wheel has presets, examples and the converter inside of the package; in a clone they lie beside it, and every clone
# must take its own, whether it is installed or not.
_HERE = Path(__file__).parent
if not (_HERE / "configs").exists() and (_HERE.parent / "configs" / "photo.py").exists():
    __path__.append(str(_HERE.parent))
