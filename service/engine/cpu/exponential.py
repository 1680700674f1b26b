"""The exponential function in float32, as a loop can compute it for many numbers at once."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from service.engine.cpu.compiling import compiled

_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""Their sum is ln 2; the first has so few digits that its product with a small integer is exact."""
_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)
"""Beyond them the result is no normal number."""
# The minimax polynomial of Cephes' expf (Moshier, netlib.org/cephes).
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_ONE = np.float32(1)


@compiled()
def exponential(x: Any) -> Any:
    """E to the `x`, within 2 units of the last place; as at the bounds of normal numbers beyond them; NaN for NaN."""
    x = _LEAST if x < _LEAST else x
    x = _MOST if x > _MOST else x
    whole = np.rint(x * _LOG2_E)
    rest = x - whole * _LN2_HIGH - whole * _LN2_LOW
    sum_ = ((((_P0 * rest + _P1) * rest + _P2) * rest + _P3) * rest + _P4) * rest + _P5
    sum_ = sum_ * rest * rest + rest + _ONE
    return sum_ * _float_of_bits(  # type: ignore[call-arg]
        (np.int32(whole) + np.int32(127)) << np.int32(23)
    )


@intrinsic
def _float_of_bits(typing: Any, bits: Any) -> Any:
    del typing, bits

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(builder.trunc(arguments[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), generate
