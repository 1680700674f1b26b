"""The errors of this package.

EvaluationError
├── UnknownBenchmarkError      a name that is no benchmark
├── BenchmarkDataError         a file that is missing or holds something else than its format says
└── AdapterNotAppliedError     an adapter that scores exactly as the base does
"""

from evaluation.errors import EvaluationError


class UnknownBenchmarkError(EvaluationError):
    """A name is no benchmark's."""


class BenchmarkDataError(EvaluationError):
    """A benchmark's data cannot be used."""


class AdapterNotAppliedError(EvaluationError):
    """An adapter's scores are the base's: whatever was measured, it was not the adapter."""
