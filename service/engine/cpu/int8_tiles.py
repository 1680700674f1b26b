"""Products of int8 numbers by the dot product instruction of AVX-512 (VNNI), for a tile of the output.

Shape legend: K groups of four inputs.
"""

from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

from service.engine.cpu.tiles import (
    BYTES,
    COLUMNS,
    FLOAT,
    FLOATS,
    HAS_AVX512,
    INT,
    INTS,
    LANES,
    VECTOR_BYTES,
    VECTORS,
    Emitter,
    for_each_number_of_rows,
)

GROUP = 4
"""Products that one lane of the instruction adds up."""


def available() -> bool:
    """Whether this processor has the instruction."""
    return HAS_AVX512 and bool(get_host_cpu_features().get("avx512vnni"))


@intrinsic
def multiply_int8_tile(
    typing: Any,
    num_rows: Any,
    rows: Any,
    row_bytes: Any,
    weight: Any,
    num_groups: Any,
    row_sums: Any,
    row_scales: Any,
    scales: Any,
    biases: Any,
    out: Any,
    out_bytes: Any,
) -> Any:
    """`out[row, column] = (sum of row * (weight - 128)) * row_scale * scale + bias` for one tile.

    All arguments are integers; those that name something are its address.

    Args:
        typing: numba's own.
        num_rows: 1 to `ROWS`.
        rows: int8 [rows, 4 K].
        row_bytes: from one of them to the next.
        weight: uint8 [K, COLUMNS, 4], of int8 numbers with 128 added: the instruction takes one factor unsigned.
        num_groups: K, at least 1.
        row_sums: int32 [rows], 128 times each row's sum, which that adding has brought in.
        row_scales: float32 [rows].
        scales: float32 [COLUMNS].
        biases: float32 [COLUMNS].
        out: float32 [rows, COLUMNS].
        out_bytes: from one row of it to the next.
    """
    del typing, num_rows, rows, row_bytes, weight, num_groups, row_sums, row_scales, scales, biases, out, out_bytes

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        count, *others = arguments
        for_each_number_of_rows(builder, count, lambda number: _emit(builder, number, *others))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 11), generate


def _emit(
    builder: Any,
    num_rows: int,
    rows: Any,
    row_bytes: Any,
    weight: Any,
    num_groups: Any,
    row_sums: Any,
    row_scales: Any,
    scales: Any,
    biases: Any,
    out: Any,
    out_bytes: Any,
) -> None:
    emitter = Emitter(builder)
    dot = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(INTS, [INTS, BYTES, BYTES]), "llvm.x86.avx512.vpdpbusd.512"
    )

    def add_group(group: Any, sums: list[list[Any]]) -> list[list[Any]]:
        at = emitter.offset(weight, COLUMNS * GROUP, group)
        weights = [emitter.load(BYTES, emitter.offset(at, VECTOR_BYTES, v), align=1) for v in range(VECTORS)]
        added = []
        for row in range(num_rows):
            four = emitter.load(INT, emitter.offset(emitter.offset(rows, row_bytes, row), GROUP, group))
            inputs = builder.bitcast(emitter.splat(four, INTS), BYTES)
            added.append([builder.call(dot, [sums[row][v], weights[v], inputs]) for v in range(VECTORS)])
        return added

    zero = ir.Constant(INTS, [0] * LANES)
    sums = emitter.sum_over(num_groups, [[zero] * VECTORS for _ in range(num_rows)], add_group)
    for row in range(num_rows):
        row_sum = emitter.splat(emitter.load(INT, emitter.offset(row_sums, 4, row)), INTS)
        row_scale = emitter.splat(emitter.load(FLOAT, emitter.offset(row_scales, 4, row)), FLOATS)
        for v in range(VECTORS):
            scale = emitter.load(FLOATS, emitter.offset(scales, VECTOR_BYTES, v))
            bias = emitter.load(FLOATS, emitter.offset(biases, VECTOR_BYTES, v))
            exact = builder.sitofp(builder.sub(sums[row][v], row_sum), FLOATS)
            scaled = builder.fmul(builder.fmul(exact, row_scale), scale)
            at = emitter.offset(emitter.offset(out, out_bytes, row), VECTOR_BYTES, v)
            emitter.store(builder.fadd(scaled, bias), at)
