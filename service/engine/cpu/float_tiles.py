"""Products of float32 numbers for a tile of the output: a few rows by a matrix as it lies in memory.

The matrix may also be bfloat16, whose bits numpy knows as uint16: half the memory to read.

Shape legend: M rows, K inputs, N outputs.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from service.engine.cpu.arrays import Array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.tiles import (
    COLUMNS,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LANES,
    ROWS,
    SHORT,
    SHORTS,
    VECTOR_BYTES,
    VECTORS,
    Emitter,
    for_each_number_of_rows,
)


def _add_intrinsic(num_vectors: int) -> Any:
    """`add(weight_KN, num_rows, x, x_bytes, weight, weight_bytes, num_in, out, out_bytes)`.

    All but the first are integers, strides in bytes; the first is there for its type.
    """

    @intrinsic
    def add(
        typing: Any,
        weight_KN: Any,
        num_rows: Any,
        x: Any,
        x_bytes: Any,
        weight: Any,
        weight_bytes: Any,
        k: Any,
        out: Any,
        step: Any,
    ) -> Any:
        del typing, num_rows, x, x_bytes, weight, weight_bytes, k, out, step
        halves = _are_halves(weight_KN)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            _, count, *others = arguments

            def emit(number: int) -> None:
                _emit_product(builder, number, num_vectors, halves, *others)

            for_each_number_of_rows(builder, count, emit)
            return context.get_dummy_value()

        return types.void(weight_KN, *[types.intp] * 8), generate

    return add


_add_tile, _add_vector = _add_intrinsic(VECTORS), _add_intrinsic(1)


def _emit_product(
    builder: Any,
    num_rows: int,
    num_vectors: int,
    halves: bool,
    x: Any,
    x_bytes: Any,
    weight: Any,
    weight_bytes: Any,
    num_in: Any,
    out: Any,
    out_bytes: Any,
) -> None:
    emitter, fma = Emitter(builder), _fma(builder)

    def add_input(k: Any, sums: list[list[Any]]) -> list[list[Any]]:
        at = emitter.offset(weight, weight_bytes, k)
        weights = [_load_floats(emitter, at, v, halves=halves) for v in range(num_vectors)]
        added = []
        for row in range(num_rows):
            value = emitter.load(FLOAT, emitter.offset(emitter.offset(x, x_bytes, row), 4, k))
            factor = emitter.splat(value, FLOATS)
            added.append([builder.call(fma, [factor, weights[v], sums[row][v]]) for v in range(num_vectors)])
        return added

    zero = ir.Constant(FLOATS, [0.0] * LANES)
    sums = emitter.sum_over(num_in, [[zero] * num_vectors for _ in range(num_rows)], add_input)
    for row in range(num_rows):
        for v in range(num_vectors):
            at = emitter.offset(emitter.offset(out, out_bytes, row), VECTOR_BYTES, v)
            emitter.store(builder.fadd(emitter.load(FLOATS, at), sums[row][v]), at)


def _load_floats(emitter: Emitter, address: Any, vector: int, *, halves: bool) -> Any:
    """One vector of float32, also where there are only their upper halves, which is what bfloat16 is."""
    if not halves:
        return emitter.load(FLOATS, emitter.offset(address, VECTOR_BYTES, vector))
    found = emitter.load(SHORTS, emitter.offset(address, VECTOR_BYTES // 2, vector), align=2)
    upper = emitter.builder.shl(emitter.builder.zext(found, INTS), ir.Constant(INTS, [16] * LANES))
    return emitter.builder.bitcast(upper, FLOATS)


def _are_halves(weight_KN: Any) -> bool:
    return bool(weight_KN.dtype == types.uint16)


@intrinsic
def _number(typing: Any, weight_KN: Any, address: Any) -> Any:
    """`number(weight_KN, address)`: the one that lies there, as float32; the array is there for its type."""
    del typing
    halves = _are_halves(weight_KN)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        emitter, at = Emitter(builder), arguments[1]
        if not halves:
            return emitter.load(FLOAT, at)
        upper = builder.shl(builder.zext(emitter.load(SHORT, at, align=2), INT), ir.Constant(INT, 16))
        return builder.bitcast(upper, FLOAT)

    return types.float32(weight_KN, address), generate


def _fma(builder: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS, FLOATS, FLOATS])
    return cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32")


@intrinsic
def _dot(typing: Any, num_rows: Any, x: Any, x_bytes: Any, y: Any, num_vectors: Any, out: Any) -> Any:
    del typing, num_rows, x, x_bytes, y, num_vectors, out

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        count, *others = arguments
        for_each_number_of_rows(builder, count, lambda number: _emit_dot(builder, number, *others))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


def _emit_dot(builder: Any, num_rows: int, x: Any, x_bytes: Any, y: Any, num_vectors: Any, out: Any) -> None:
    emitter, fma = Emitter(builder), _fma(builder)
    add_up = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(FLOAT, [FLOAT, FLOATS]), "llvm.vector.reduce.fadd.v16f32"
    )

    def add_vector(vector: Any, sums: list[list[Any]]) -> list[list[Any]]:
        shared = emitter.load(FLOATS, emitter.offset(y, VECTOR_BYTES, vector))
        rows = [emitter.offset(emitter.offset(x, x_bytes, row), VECTOR_BYTES, vector) for row in range(num_rows)]
        return [[builder.call(fma, [emitter.load(FLOATS, rows[row]), shared, sums[row][0]])] for row in range(num_rows)]

    sums = emitter.sum_over(num_vectors, [[ir.Constant(FLOATS, [0.0] * LANES)] for _ in range(num_rows)], add_vector)
    for row in range(num_rows):
        total = builder.call(add_up, [ir.Constant(FLOAT, 0.0), sums[row][0]], fastmath=("reassoc",))
        emitter.store(total, emitter.offset(out, 4, row))


@compiled()
def add_product(x_MK: Array, weight_KN: Array, out_MN: Array) -> None:
    """Adds the product to `out_MN`; rows must be contiguous, and a row's sums do not depend on the others.

    `weight_KN` is float32, or bfloat16 as uint16.
    """
    (num_rows, num_in), num_out = x_MK.shape, out_MN.shape[1]
    if num_in == 0:
        return
    strides = x_MK.strides[0], weight_KN.strides[0], out_MN.strides[0]
    for first in range(0, num_rows, ROWS):
        count = min(ROWS, num_rows - first)
        x_at = x_MK.ctypes.data + first * strides[0]
        whole, column = num_out // LANES * LANES, 0
        while column < whole:
            weight_at = weight_KN.ctypes.data + weight_KN.itemsize * column
            out_at = out_MN.ctypes.data + first * strides[2] + 4 * column
            if column + COLUMNS <= whole:
                _add_tile(weight_KN, count, x_at, strides[0], weight_at, strides[1], num_in, out_at, strides[2])
                column += COLUMNS
            else:
                _add_vector(weight_KN, count, x_at, strides[0], weight_at, strides[1], num_in, out_at, strides[2])
                column += LANES
        for row in range(first, first + count):
            for column in range(whole, num_out):
                total = np.float32(0)
                for k in range(num_in):
                    at = weight_KN.ctypes.data + k * strides[1] + weight_KN.itemsize * column
                    total += x_MK[row, k] * _number(weight_KN, at)  # type: ignore[call-arg]
                out_MN[row, column] += total


@compiled()
def dot_products(x_MK: Array, y_K: Array, out_M: Array) -> None:
    """The dot product of each row with one more; all rows must be contiguous."""
    num_rows, num_in = x_MK.shape
    whole = num_in // LANES * LANES
    for first in range(0, num_rows, ROWS):
        count = min(ROWS, num_rows - first)
        x_at, out_at = x_MK.ctypes.data + first * x_MK.strides[0], out_M.ctypes.data + 4 * first
        if whole:
            _dot(count, x_at, x_MK.strides[0], y_K.ctypes.data, whole // LANES, out_at)  # type: ignore[call-arg]
        else:
            out_M[first : first + count] = 0
        for row in range(first, first + count):
            for k in range(whole, num_in):
                out_M[row] += x_MK[row, k] * y_K[k]
