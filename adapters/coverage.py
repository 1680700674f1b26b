"""Whether a weights file holds exactly the tensors that its configuration asks for on this base.

A tensor too few or too many is how an adapter loads and then silently serves the base.
"""

from collections.abc import Mapping
from typing import Final

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from adapters.files import WEIGHTS
from adapters.header import TensorInfo
from adapters.targets import targeted_modules

PREFIX: Final = "base_model.model."
LORA_A: Final = ".lora_A.weight"
LORA_B: Final = ".lora_B.weight"
MAGNITUDE: Final = ".lora_magnitude_vector"
ROLES: Final = (LORA_A, LORA_B, MAGNITUDE)


def check_coverage(
    config: LoraConfig, header: Mapping[str, TensorInfo], linear_shapes: Mapping[str, tuple[int, int]]
) -> tuple[str, ...]:
    """Compare the tensors by name and shape with what the configuration adapts.

    Args:
        config: the adapter's configuration.
        header: the weights file's tensors by name.
        linear_shapes: module name to (out_features, in_features).

    Returns:
        The adapted modules' names.

    Raises:
        InvalidAdapterError: names the first tensor that is missing, unexpected or of another shape.
    """
    modules = targeted_modules(config, linear_shapes)
    if not modules:
        raise _invalid(f"target_modules = {str(config.target_modules)[:120]} match no linear layer of the base")
    expected = _expected_shapes(config, modules, linear_shapes)
    for name in header:
        if name not in expected:
            raise _invalid(f"tensor {name[:160]!r} is not expected: {_why_unexpected(name, config, linear_shapes)}")
    for name, shape in expected.items():
        if name not in header:
            raise _invalid(f"tensor {name!r} of shape {shape} is missing, though the configuration targets its module")
        if header[name].shape != shape:
            raise _invalid(
                f"tensor {name!r} has shape {header[name].shape}, but the base and rank "
                f"{config.rank_of(_module(name))} of the configuration make it {shape}"
            )
    return modules


def _expected_shapes(
    config: LoraConfig, modules: tuple[str, ...], linear_shapes: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {}
    for module in modules:
        num_outputs, num_inputs = linear_shapes[module]
        rank = config.rank_of(module)
        expected[PREFIX + module + LORA_A] = (rank, num_inputs)
        expected[PREFIX + module + LORA_B] = (num_outputs, rank)
        if config.dora:
            expected[PREFIX + module + MAGNITUDE] = (num_outputs,)
    return expected


def _why_unexpected(name: str, config: LoraConfig, linear_shapes: Mapping[str, tuple[int, int]]) -> str:
    if not name.startswith(PREFIX) or not name.endswith(ROLES):
        return f"only {PREFIX}<module>{{{','.join(ROLES)}}} are read"
    module = _module(name)
    if module not in linear_shapes:
        return f"the base has no linear layer {module[:120]!r}"
    if name.endswith(MAGNITUDE) and not config.dora:
        return "a magnitude needs use_dora, which is false"
    return "the configuration does not target this module"


def _module(name: str) -> str:
    for role in ROLES:
        name = name.removesuffix(role)
    return name.removeprefix(PREFIX)


def _invalid(reason: str) -> InvalidAdapterError:
    return InvalidAdapterError(f"{WEIGHTS}: {reason}")
