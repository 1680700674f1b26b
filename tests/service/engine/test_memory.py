import resource

import torch

from service.engine.memory import zeros

CPU = torch.device("cpu")


def test_zeros_take_memory_only_where_they_are_written() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = zeros((1 << 10, 1 << 20), torch.float32, CPU)
    large[5, 7] = 3
    assert float(large[5].sum()) == 3
    # In KiB: of 4 GiB not even a hundredth.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


def test_zeros_have_the_size_and_dtype_asked_for() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        made = zeros((3, 0, 2), dtype, CPU), zeros((3, 4), dtype, CPU)
        assert [tensor.shape for tensor in made] == [(3, 0, 2), (3, 4)]
        assert all(tensor.dtype == dtype and not bool(tensor.any()) for tensor in made)
