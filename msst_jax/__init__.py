"""Multi-Style Semantic Style Transfer in JAX: every region of a photo takes the style of a painting of its own.

    import msst_jax

    result = msst_jax.stylize(photo, {"person": scream, "background": wave})  # arrays (H, W, 3), Pillow pictures, paths
    masks = msst_jax.segment(photo)  # {"person": (H, W), ..., "background": (H, W)}
    picture = msst_jax.load_stylizer("builtin")(photo)  # float32 (H, W, 3), in one forward pass
    vgg = msst_jax.load_vgg("vgg16", ["relu3_1"])  # vgg(images, layers) -> {layer: features}
    solution = msst_jax.minimize(loss, pixels, optax.adam(0.02), 200)  # a loss from scratch

Nothing is imported before it is used.
"""

import os.path

TYPE_CHECKING = False  # type checkers take it for true; that of typing would be imported before signals are heeded
if TYPE_CHECKING:
    from msst_jax.api.images import read_image, write_image
    from msst_jax.api.networks import load_vgg
    from msst_jax.api.result import Result
    from msst_jax.api.segment import segment
    from msst_jax.api.stylize import stylize
    from msst_jax.api.stylizer import LoadedStylizer, load_stylizer
    from msst_jax.api.video import stylize_video
    from msst_jax.errors import UserError
    from msst_jax.losses.objective import Features
    from msst_jax.optim.lbfgs import torch_lbfgs
    from msst_jax.optim.minimize import Solution, minimize
    from msst_jax.registry import register_segmenter, register_stylizer, register_task

__version__ = "0.1.0"
__all__ = [
    "Features",
    "LoadedStylizer",
    "Result",
    "Solution",
    "UserError",
    "load_stylizer",
    "load_vgg",
    "minimize",
    "read_image",
    "register_segmenter",
    "register_stylizer",
    "register_task",
    "segment",
    "stylize",
    "stylize_video",
    "torch_lbfgs",
    "write_image",
]
_MODULES = {
    "Features": "losses.objective",
    "LoadedStylizer": "api.stylizer",
    "Result": "api.result",
    "Solution": "optim.minimize",
    "UserError": "errors",
    "load_stylizer": "api.stylizer",
    "load_vgg": "api.networks",
    "minimize": "optim.minimize",
    "read_image": "api.images",
    "register_segmenter": "registry",
    "register_stylizer": "registry",
    "register_task": "registry",
    "segment": "api.segment",
    "stylize": "api.stylize",
    "stylize_video": "api.video",
    "torch_lbfgs": "optim.lbfgs",
    "write_image": "api.images",
}

# A wheel has presets, examples and the converter inside of the package; in a clone they lie beside it, and every clone
# must take its own, whether it is installed or not.
_HERE = os.path.dirname(__file__)
_CLONE = os.path.dirname(_HERE)
if not os.path.exists(f"{_HERE}/configs") and os.path.exists(f"{_CLONE}/configs/photo.py"):
    __path__.append(_CLONE)


if not TYPE_CHECKING:  # with it, type checkers would take any name for one that is there

    def __getattr__(name: str) -> object:
        """A public function or class, imported when it is first used (PEP 562)."""
        import importlib

        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, and what is imported."""
    return sorted({*globals(), *__all__})
