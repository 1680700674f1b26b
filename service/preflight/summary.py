"""A preflight in one line."""

from service.preflight.report import Preflight


def summary(preflight: Preflight) -> str:
    """The figures, for the beginning of a run."""
    train, expected = preflight.train, preflight.estimate
    if expected is None:
        return f"{train.file}: no usable row"
    return (
        f"{train.num_usable:,} rows, {expected.epoch_tokens:,} tokens an epoch ({expected.epoch_labelled_tokens:,} "
        f"labelled); "
        f"{expected.steps:,} steps; memory about {expected.needs_bytes / 2**30:.1f} GiB of "
        f"{expected.free_bytes / 2**30:.1f} free; adapter {mebibytes(expected.adapter_bytes)}"
    )


def mebibytes(count: int) -> str:
    """A small size as people write it: `18.6 MiB`."""
    return f"{count / 2**20:.1f} MiB"
