"""Innermost loops written as LLVM's instructions, so that a tile of the output stays in registers.

numba keeps sums in memory and never forms the dot product instructions of int8 numbers; these loops are most of the
engine's work.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features

LANES = 16
"""Columns of one vector."""
VECTOR_BYTES = 64
VECTORS = 3
COLUMNS = LANES * VECTORS
"""Columns of a tile."""
HAS_AVX512 = bool(get_host_cpu_features().get("avx512f"))
ROWS = 8 if HAS_AVX512 else 2
"""Rows of a tile at most: with them 24 of AVX-512's 32 registers hold sums, or 12 of AVX2's 16, half as wide."""

BYTE, SHORT, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
BYTES, SHORTS = ir.VectorType(BYTE, VECTOR_BYTES), ir.VectorType(SHORT, LANES)
INTS, FLOATS = ir.VectorType(INT, LANES), ir.VectorType(FLOAT, LANES)

Step = Callable[[Any, list[list[Any]]], list[list[Any]]]
"""`step(index, sums[row][vector])`: the sums with one more index added."""


class Emitter:
    """Appends instructions at the builder's place; addresses are integers."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def offset(self, address: Any, stride: Any, count: Any) -> Any:
        """`address + stride * count`, where either factor may be a number of Python's."""
        return self.builder.add(address, self.builder.mul(_long(stride), _long(count)))

    def load(self, kind: Any, address: Any, *, align: int = 4) -> Any:
        """What lies there."""
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=align)

    def store(self, value: Any, address: Any) -> None:
        """Puts it there."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=4)

    def splat(self, value: Any, kind: Any) -> Any:
        """The same in every lane."""
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
        return self.builder.shuffle_vector(first, first, ir.Constant(INTS, [0] * LANES))

    def sum_over(self, count: Any, zeros: list[list[Any]], step: Step) -> list[list[Any]]:
        """Runs `step` for each index below `count`, which is at least 1; the sums never leave the registers."""
        builder, before = self.builder, self.builder.block
        loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        index = builder.phi(LONG)
        sums = [[builder.phi(zero.type) for zero in row] for row in zeros]
        added = step(index, sums)
        following = builder.add(index, _long(1))
        index.add_incoming(_long(0), before)
        index.add_incoming(following, loop)
        for row, row_zeros, row_added in zip(sums, zeros, added, strict=True):
            for phi, zero, new in zip(row, row_zeros, row_added, strict=True):
                phi.add_incoming(zero, before)
                phi.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        return added


def for_each_number_of_rows(builder: Any, num_rows: Any, emit: Callable[[int], None]) -> None:
    """One copy for each number of rows up to `ROWS`, since registers cannot be counted while the code runs."""
    done = builder.append_basic_block("done")
    switch = builder.switch(num_rows, done)
    for count in range(1, ROWS + 1):
        block = builder.append_basic_block(f"rows.{count}")
        switch.add_case(ir.Constant(num_rows.type, count), block)
        builder.position_at_end(block)
        emit(count)
        builder.branch(done)
    builder.position_at_end(done)


def _long(value: Any) -> Any:
    return ir.Constant(LONG, value) if isinstance(value, int) else value
