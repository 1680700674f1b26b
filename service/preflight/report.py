"""Everything found before a run, as one object: printed, sent as events, and answered over HTTP."""

from dataclasses import asdict, dataclass
from typing import Any

from corpus.findings import Finding
from corpus.report import Report
from service.errors import PreflightError
from service.preflight.auto import AutoChoice
from service.preflight.estimate import Estimate
from training.config import TrainingConfig
from training.probe import RunTime


@dataclass(frozen=True, kw_only=True)
class BaseSummary:
    """The base that the rows were looked at for."""

    name: str
    num_parameters: int
    context_tokens: int
    template: str
    """`chat`: the base's own; `plain`: instruction headings."""
    quantization: str


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What a run over these files would meet."""

    base: BaseSummary
    train: Report
    validation: Report | None
    max_length: int
    """Tokens after which rows are cut: the setting, or the base's context where that is less."""
    estimate: Estimate | None
    """None where no row is usable."""
    choices: tuple[AutoChoice, ...]
    """What lorad chooses where a setting is left to it, and why."""
    config: TrainingConfig | None
    """What the run would use; None where no row is usable."""
    findings: tuple[Finding, ...]
    """About the run; those about rows are in the reports."""
    time: RunTime | None = None
    """How long the run would take; None before a pass was measured."""

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Reasons not to begin."""
        return tuple(found for found in self._all() if found.severity == "refusal")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth knowing and forbids nothing."""
        return tuple(found for found in self._all() if found.severity == "warning")

    def require(self) -> None:
        """Raise what a run must not begin with.

        Raises:
            PreflightError: there are refusals; the message names file, line, value and fix of each.
        """
        if self.refusals:
            raise PreflightError("\n".join(told(found) for found in self.refusals))

    def to_json(self) -> dict[str, Any]:
        """The whole as JSON types; `refused` says at once whether a run would begin."""
        return {
            "refused": bool(self.refusals),
            "base": asdict(self.base),
            "max_length": self.max_length,
            "train": self.train.to_json(),
            "validation": None if self.validation is None else self.validation.to_json(),
            "estimate": None if self.estimate is None else asdict(self.estimate),
            "choices": [asdict(choice) for choice in self.choices],
            "config": None if self.config is None else self.config.model_dump(mode="json"),
            "time": None if self.time is None else {**asdict(self.time), "seconds": self.time.seconds},
            "findings": [asdict(found) for found in self.findings],
        }

    def _all(self) -> tuple[Finding, ...]:
        held_out = () if self.validation is None else self.validation.findings
        return (*self.train.findings, *held_out, *self.findings)


def told(found: Finding) -> str:
    """One finding in plain lines: what, which rows, and the way out."""
    rows = [f"  {sample.file}:{sample.line}: {sample.detail}" for sample in found.samples]
    more = found.count - len(found.samples)
    if found.samples and more > 0:
        rows.append(f"  and {more:,} more")
    return "\n".join([found.message, *rows, *([f"  {found.fix}"] if found.fix else [])])
