"""A pytest plugin for runs in Triton's interpreter, whose dot product takes bfloat16 for the integers of its bits."""

from typing import Any

import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder

_dot = InterpreterBuilder.create_dot


def _as_float(builder: InterpreterBuilder, handle: Any) -> Any:
    return builder.cast_impl(handle, tl.float32) if handle.dtype.scalar == tl.bfloat16 else handle


def _repaired_dot(builder: InterpreterBuilder, a: Any, b: Any, *others: Any) -> Any:
    return _dot(builder, _as_float(builder, a), _as_float(builder, b), *others)


InterpreterBuilder.create_dot = _repaired_dot
