"""What can be wrong with a suite that is asked for by name.

EvaluationError
└── SuiteStoreError
    ├── InvalidSuiteError    it is not well formed; names the case and the field
    ├── UnknownSuiteError    there is no such suite, or no such version of it
    └── TooManySuitesError   a tenant keeps as many versions as it may
"""

from evaluation.errors import EvaluationError


class SuiteStoreError(EvaluationError):
    """Root of what stored suites raise."""


class InvalidSuiteError(SuiteStoreError):
    """A suite is not well formed; the message names the case and the field."""


class UnknownSuiteError(SuiteStoreError):
    """There is no such suite, or no such version of it."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"there is no suite {reference[:160]!r}; lorad suites list shows those there are")


class TooManySuitesError(SuiteStoreError):
    """A tenant keeps as many versions of suites as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} versions of suites are kept, which is the limit; delete one first")
