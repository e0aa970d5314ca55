"""Layouts of checkpoints: what a state dict lies in, and what precedes torchvision's names in its keys."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from msst_jax.errors import UserError
from msst_jax.models.serialization import truncate_problems

from .networks import NETWORKS, Network
from .pth.texts import shown

WRAPPER = "state_dict"  # as Lightning and most training scripts name it
LAYOUTS = "each also behind one prefix, such as module.; the whole also as an entry of a dict, such as state_dict"
SHOWN = 3  # names in an error
LEAST_SHARE = 0.25  # of a network's tensors that a file must have to be taken for one of it


def find_state_dict(content: object, is_tensor: Callable[[object], bool]) -> Mapping[str, Any]:
    """The state dict in what a checkpoint holds: the content itself, or an entry of it.

    Args:
      content: of the file.
      is_tensor: tells tensors from other values.

    Raises:
      ValueError: there is none, or more than one and none is called state_dict; says what was found.
    """
    if isinstance(content, dict) and content and all(map(is_tensor, content.values())):
        return content
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__}")
    entries = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, dict) and value and all(map(is_tensor, value.values()))
    }
    if WRAPPER in entries:
        return entries[WRAPPER]
    if len(entries) == 1:
        return next(iter(entries.values()))
    if entries:
        names = ", ".join(truncate_problems([*map(shown, entries)]))
        raise ValueError(f"found several state dicts, {names}, none of them called {WRAPPER}")
    found = [f"{shown(name)} ({_kind(value)})" for name, value in content.items()]
    raise ValueError(f"found {', '.join(truncate_problems(found)) or 'an empty dict'}")


def with_torchvision_names(state: Mapping[str, np.ndarray], network: Network, origin: str) -> dict[str, np.ndarray]:
    """A state dict with the keys that torchvision gives them.

    One prefix before all keys is left out, and a state dict of `.features` alone gets that name. Keys that are not
    part of the network stay as they are, so that the converter names them as the file does.

    Args:
      state: {key: array}.
      network: entry of `NETWORKS`.
      origin: the file, for error messages.

    Raises:
      UserError: the layout is unknown, or a tensor is there twice; says what was found and what was expected.
    """
    prefix, part, matches = _naming(state, network)
    if matches < LEAST_SHARE * len(network.keys):
        raise UserError(f"{origin} holds no {network.name}: {_found(state)}, expected {_expected(network)}")
    renamed: dict[str, np.ndarray] = {}
    for key, value in state.items():
        named = part + key.removeprefix(prefix) if key.startswith(prefix) else key
        target = named if network.knows(named) else key
        if target in renamed:
            raise UserError(f"{origin} has two tensors {shown(target)}; save the state dict of one network")
        renamed[target] = value
    return renamed


def recognize(state: Mapping[str, np.ndarray], origin: str) -> Network:
    """The entry of `NETWORKS` whose tensors a state dict names, by the most names in common and the fewest others.

    Raises:
      UserError: none of them; says what was found.
    """

    def fit(network: Network) -> int:  # those in common, less the missing ones
        return 2 * _naming(state, network)[2] - len(network.keys)

    best = max(NETWORKS.values(), key=fit)
    if _naming(state, best)[2] < LEAST_SHARE * len(best.keys):
        raise UserError(f"{origin} holds no network that is known here: {_found(state)}; give {', '.join(NETWORKS)}")
    return best


def _naming(state: Mapping[str, np.ndarray], network: Network) -> tuple[str, str, int]:
    """(What precedes the keys, what they lack before torchvision's names, how many are torchvision's then)."""
    found: Counter[tuple[str, str]] = Counter()
    for key in state:
        for prefix, rest in _splits(key):
            for part in dict.fromkeys(("", network.part)):
                found[prefix, part] += part + rest in network.keys
    if not found:
        return "", "", 0
    prefix, part = max(found, key=lambda naming: (found[naming], -len(naming[0]), -len(naming[1])))
    return prefix, part, found[prefix, part]


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    names = key.split(".")
    for count in range(len(names)):
        prefix = "".join(f"{name}." for name in names[:count])
        yield prefix, key.removeprefix(prefix)


def _found(state: Mapping[str, np.ndarray]) -> str:
    more = ", ..." if len(state) > SHOWN else ""
    return f"found {len(state)} tensors ({', '.join(map(shown, [*state][:SHOWN]))}{more})"


def _expected(network: Network) -> str:
    first = next(iter(network.keys))
    bare = f" or {first.removeprefix(network.part)}, ..." if network.part else ""
    return f"{len(network.keys)} or more ({', '.join([*network.keys][:SHOWN])}, ...{bare}; {LAYOUTS})"


def _kind(value: object) -> str:
    return "an empty dict" if value == {} else type(value).__name__
