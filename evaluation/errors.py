"""The error tree of this package.

EvaluationError
├── UnknownMetricError    a metric that is not computed
├── UnknownScorerError    a scorer that there is not, or parameters that it does not have
├── NothingToDoError      no cases, no models or no metrics
├── RepeatedModelError    one model named twice
├── RepeatedMetricError   two scorers that give one metric
├── CaseError             a case that cannot be scored or asked
│   └── CaseTooLongError  it does not fit into the base's context
├── SettingsError         generation settings out of range
├── SamplerError          a sampler that breaks its contract
├── ComparisonError       results that cannot be held against each other
├── JudgeUnavailableError  a judge that cannot be asked
│   ├── JudgeRefusedError     it refuses this conversation; it may answer others
│   └── JudgeRestingError     it is left in peace for a while, and was not asked
├── ReportError           a report that cannot be written where it should
└── GateError             a policy of a gate that is not well formed
"""


class EvaluationError(Exception):
    """Root of everything this package raises on purpose."""


class UnknownMetricError(EvaluationError):
    """A metric that is not computed."""


class UnknownScorerError(EvaluationError):
    """A scorer that there is not, or parameters that it does not have."""


class NothingToDoError(EvaluationError):
    """No cases, no models or no metrics."""


class RepeatedModelError(EvaluationError):
    """One model is named twice."""


class RepeatedMetricError(EvaluationError):
    """Two scorers of a case give the same metric."""


class CaseError(EvaluationError):
    """A case does not hold what a metric needs."""


class CaseTooLongError(CaseError):
    """A case does not fit into the base's context."""


class SettingsError(EvaluationError):
    """A generation setting is out of range."""


class SamplerError(EvaluationError):
    """The sampler returned something its contract rules out."""


class ComparisonError(EvaluationError):
    """Results cannot be held against each other."""


class JudgeUnavailableError(EvaluationError):
    """A judge cannot be asked: it is down, refuses, or talks nonsense. What it judged so far stays."""

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the judge {name!r} cannot be asked: {reason}.")


class JudgeRefusedError(JudgeUnavailableError):
    """A judge refuses one conversation, such as one that is too long for it; it may answer others."""


class JudgeRestingError(JudgeUnavailableError):
    """A judge that failed is left in peace for a while: it was not asked, and the reason is that of the failure."""


class ReportError(EvaluationError):
    """A report cannot be written where it should."""


class GateError(EvaluationError):
    """A policy of a gate is not well formed."""
