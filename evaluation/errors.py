"""The error tree of this package.

EvaluationError
├── UnknownMetricError    a metric that is not computed
├── NothingToDoError      no cases, no models or no metrics
├── RepeatedModelError    one model named twice
├── CaseError             a case that cannot be scored or asked
├── SettingsError         generation settings out of range
└── SamplerError          a sampler that breaks its contract
"""


class EvaluationError(Exception):
    """Root of everything this package raises on purpose."""


class UnknownMetricError(EvaluationError):
    """A metric that is not computed."""


class NothingToDoError(EvaluationError):
    """No cases, no models or no metrics."""


class RepeatedModelError(EvaluationError):
    """One model is named twice."""


class CaseError(EvaluationError):
    """A case does not hold what a metric needs."""


class SettingsError(EvaluationError):
    """A generation setting is out of range."""


class SamplerError(EvaluationError):
    """The sampler returned something its contract rules out."""
