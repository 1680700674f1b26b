from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as compile_kernel

from service.engine.lora import triton_kernels
from service.engine.model import triton_attention

AMPERE, HOPPER = 80, 90
SMALLEST_SHARED_BYTES = 99 << 10
"""What a block may take on consumer cards; data centre cards have more."""
INDICES = frozenset(
    f"{name}_ptr" for name in ("ranks", "parts", "tiles", "entry_rows", "row_tiles", "rows", "row_entries", "tables")
)
FLOATS = ("low_ptr", "scales_ptr", "partial_ptr", "weight_ptr")


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compiled(kernel: Any, constants: Mapping[str, int | None], *, dtype: str, arch: int, num_stages: int) -> Any:
    signature = {name: _type(name, dtype) for name in kernel.arg_names}
    # As launches find it: tensors and most sizes are multiples of sixteen.
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, name in enumerate(signature)
        if name.endswith(("ptr", "stride")) and name not in constants
    }
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), values, aligned)
    options = {"num_warps": 4, "num_stages": num_stages, "enable_fp_fusion": True}
    return compile_kernel(source, target=GPUTarget("cuda", arch, 32), options=options)


def _type(name: str, dtype: str) -> str:
    if name in INDICES | {"lengths_ptr"}:
        return "*i32"
    if name in FLOATS:
        return "*fp32"
    if name.endswith("_ptr"):
        return f"*{dtype}"
    return "fp32" if name == "scale" else "i32"


def assert_runs_on_tensor_cores(kernel: Any) -> None:
    assert kernel.metadata.shared <= SMALLEST_SHARED_BYTES
    assert "mma" in kernel.asm["ptx"]


@pytest.mark.parametrize("arch", [AMPERE, HOPPER])
@pytest.mark.parametrize(("block_m", "block_k", "num_splits"), [(16, 128, 8), (64, 64, 1)])
def test_lora_kernels_compile_without_a_device(arch: int, block_m: int, block_k: int, num_splits: int) -> None:
    shared = {"NUM_PARTS": 3, "WIDTH": 16, "NUM_SPLITS": num_splits, "RANK_UNIT": triton_kernels.RANK_UNIT}
    shrink = {"NUM_FIELDS": 3, "BLOCK_M": block_m, "BLOCK_K": block_k, "BLOCK_R": 16}
    expand = {"FIRST_SLOT": 3, "NUM_FIELDS": 5, "BLOCK_M": block_m, "BLOCK_R": 16, "BLOCK_N": 64}
    for kernel, constants in ((triton_kernels._shrink_kernel, shrink), (triton_kernels._expand_kernel, expand)):
        assert_runs_on_tensor_cores(compiled(kernel, {**shared, **constants}, dtype="bf16", arch=arch, num_stages=3))


def test_kernels_compile_for_a_single_row() -> None:
    # A size of one is a constant to the compiler.
    shared = {"NUM_PARTS": 1, "WIDTH": 16, "NUM_SPLITS": 8, "RANK_UNIT": 8, "BLOCK_M": 16, "BLOCK_R": 16}
    shrink = {"NUM_FIELDS": 3, "BLOCK_K": 128, "num_entries": 1}
    expand = {"FIRST_SLOT": 3, "NUM_FIELDS": 4, "BLOCK_N": 64, "num_entries": 1, "num_pieces": 1, "max_rows": 1}
    sizes = {"HEAD_DIM": 128, "NUM_PARTS": 8, "MIN_PART": 128, "BLOCK_D": 128, "window": None}
    attend = {"GROUP": 4, "PAGE_TOKENS": 16, "BLOCK_G": 16, "BLOCK_N": 64, "num_kv": 1, "table_stride": 1}
    for kernel, constants in (
        (triton_kernels._shrink_kernel, {**shared, **shrink}),
        (triton_kernels._expand_kernel, {**shared, **expand}),
        (triton_attention._attend_kernel, {**sizes, **attend}),
    ):
        assert_runs_on_tensor_cores(compiled(kernel, constants, dtype="bf16", arch=HOPPER, num_stages=3))


@pytest.mark.parametrize(("arch", "head_dim", "block_d", "block_n"), [(AMPERE, 80, 128, 64), (HOPPER, 256, 256, 32)])
def test_attention_kernels_compile_without_a_device(arch: int, head_dim: int, block_d: int, block_n: int) -> None:
    window = {"window": None} if arch == AMPERE else {}
    shared = {"HEAD_DIM": head_dim, "NUM_PARTS": triton_attention.MAX_PARTS, "MIN_PART": 128, "BLOCK_D": block_d}
    attend = {"GROUP": 4, "PAGE_TOKENS": 16, "BLOCK_G": 16, "BLOCK_N": block_n}
    kernel = triton_attention._attend_kernel
    assert_runs_on_tensor_cores(compiled(kernel, {**shared, **attend, **window}, dtype="bf16", arch=arch, num_stages=3))
    compiled(triton_attention._join_kernel, {**shared, **window}, dtype="bf16", arch=arch, num_stages=3)
