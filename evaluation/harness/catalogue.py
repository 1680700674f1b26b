"""The benchmarks that can be asked, and which of the harness's tasks and which files each is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from evaluation.harness import rows
from evaluation.harness.errors import UnknownBenchmarkError


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One of them."""

    name: str
    """As it is asked for, and the harness's task or group of that name."""
    definition: str
    """The harness's file for it, below its folder of tasks."""
    folder: tuple[str, ...]
    """Names that a folder with its files may have."""
    convert: rows.Convert
    splits: Mapping[str, tuple[str, ...]]
    """Split as the task calls it, and the files that may hold it, without `.jsonl`."""
    optional: frozenset[str] = frozenset()
    """Splits that are only wanted for examples in the prompt."""


_TEST_FIRST = ("test", "validation")
_ARC = {"test": _TEST_FIRST, "validation": ("validation",), "train": ("train",)}
_VALIDATION = {"validation": ("validation", "test"), "train": ("train",)}

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        each.name: each
        for each in (
            Benchmark(
                name="arc_easy",
                definition="arc/arc_easy.yaml",
                folder=("arc_easy", "ARC-Easy"),
                convert=rows.arc,
                splits=_ARC,
                optional=frozenset({"train", "validation"}),
            ),
            Benchmark(
                name="arc_challenge",
                definition="arc/arc_challenge.yaml",
                folder=("arc_challenge", "ARC-Challenge"),
                convert=rows.arc,
                splits=_ARC,
                optional=frozenset({"train", "validation"}),
            ),
            Benchmark(
                name="hellaswag",
                definition="hellaswag/hellaswag.yaml",
                folder=("hellaswag",),
                convert=rows.hellaswag,
                splits=_VALIDATION,
                optional=frozenset({"train"}),
            ),
            Benchmark(
                name="mmlu",
                definition="mmlu/default",
                folder=("mmlu",),
                convert=rows.mmlu,
                splits={"test": ("test",), "dev": ("dev",)},
            ),
            Benchmark(
                name="truthfulqa_mc1",
                definition="truthfulqa/truthfulqa_mc1.yaml",
                folder=("truthfulqa", "truthfulqa_mc"),
                convert=rows.truthfulqa,
                splits={"validation": ("validation", "test")},
            ),
            Benchmark(
                name="truthfulqa_mc2",
                definition="truthfulqa/truthfulqa_mc2.yaml",
                folder=("truthfulqa", "truthfulqa_mc"),
                convert=rows.truthfulqa,
                splits={"validation": ("validation", "test")},
            ),
            Benchmark(
                name="gsm8k",
                definition="gsm8k/gsm8k.yaml",
                folder=("gsm8k",),
                convert=rows.gsm8k,
                splits={"test": ("test",), "train": ("train",)},
            ),
        )
    }
)


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UnknownBenchmarkError: there is none.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = get_close_matches(name, BENCHMARKS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise UnknownBenchmarkError(f"{name!r} is no benchmark{hint} There are {', '.join(BENCHMARKS)}.")
