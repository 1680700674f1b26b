"""How the engine's functions for the CPU are compiled: once for a machine, when they are first imported.

What is kept on disk is remade when the function's own file changes, and not when one does that it calls into: after a
change in `tiles.py`, or here, remove the folders `__pycache__` below `service/engine` (`make clean`).
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz", "arcp"}
"""What is not a number stays one."""


def compiled(*signatures: str, exact: bool = False) -> Callable[[Function], Function]:
    """Compiles a function whose loops over `prange` are shared by threads; the result is kept beside the source.

    Args:
        signatures: of its arguments, so that none of another layout has it compiled anew while requests wait; none: it
            is only called by others, and becomes a part of them.
        exact: each operation is done as it is written; otherwise sums may be taken in any order.
    """
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": set() if exact else _SUMS_IN_ANY_ORDER}
    if not signatures:
        return njit(**options)  # type: ignore[no-any-return]
    options |= {"parallel": True, "nogil": True}

    def decorate(function: Function) -> Function:
        try:
            made = njit(list(signatures), cache=True, **options)(function)
        except RuntimeError:
            # Neither the source's folder nor the user's cache can be written.
            made = njit(list(signatures), **options)(function)
        return cast(Function, made)

    return decorate
