"""What a gate saw of one condition, and how it is told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from evaluation.statistics.paired import Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One condition on one metric of one suite."""

    condition: str
    """As the policy has it."""
    holds: bool
    suite: str | None = None
    """None: no suite measured what the condition asks for."""
    metric: str | None = None
    candidate: float | None = None
    wanted: float | None = None
    """What the candidate had to reach, margin included."""
    against: str | None = None
    """The model it was held against; None: a number."""
    current: float | None = None
    """That model's value."""
    difference: Difference | None = None
    """Between both, case by case."""
    unmeasured: tuple[int, int] | None = None
    """Cases for which the candidate has a value, and the other, where the candidate has it for fewer."""

    def to_json(self) -> dict[str, JsonValue]:
        """As a history keeps it; what is not finite is null."""
        found: dict[str, JsonValue] = {
            "condition": self.condition,
            "holds": self.holds,
            "suite": self.suite,
            "metric": self.metric,
            "candidate": _finite(self.candidate),
            "wanted": _finite(self.wanted),
            "against": self.against,
            "current": _finite(self.current),
        }
        if self.unmeasured is not None:
            found["num_cases"], found["current_num_cases"] = self.unmeasured
        if self.difference is not None:
            found["difference"] = {
                "delta": _finite(self.difference.delta),
                "low": _finite(self.difference.interval.low),
                "high": _finite(self.difference.interval.high),
                "p_value": _finite(self.difference.p_adjusted),
                "test": self.difference.test,
                "verdict": self.difference.verdict,
                "num_cases": self.difference.num_cases,
            }
        return found

    def __str__(self) -> str:
        if self.suite is None or self.candidate is None:
            return f"nothing was measured for '{self.condition}'"
        text = f"{self.metric} {self.candidate:.4g} on {self.suite}"
        if self.current is not None:
            text += f", {self.against} has {self.current:.4g}"
        elif self.wanted is not None:
            text += f", {self.wanted:.4g} is wanted"
        if self.unmeasured is not None:
            candidate, other = self.unmeasured
            text += f"; it has a value for {candidate} cases, {self.against} for {other}"
        return text if self.difference is None else f"{text} ({_told(self.difference)})"


def refused_text(failed: Sequence[Finding]) -> str:
    """Why nothing moves."""
    return (
        "refused: " + "; ".join(f"'{each.condition}' does not hold: {each}" for each in failed[:_SHOWN]) + _rest(failed)
    )


def summary_text(findings: Sequence[Finding]) -> str:
    """Why the alias moves."""
    return "promoted: " + "; ".join(f"'{each.condition}' holds: {each}" for each in findings[:_SHOWN]) + _rest(findings)


_SHOWN = 8


def _rest(findings: Sequence[Finding]) -> str:
    return f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""


def _told(difference: Difference) -> str:
    low, high = difference.interval.low, difference.interval.high
    return (
        f"{difference.delta:+.4g}, 95% interval {low:+.4g} to {high:+.4g}, p {difference.p_adjusted:.2g}: "
        f"{difference.verdict}"
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
