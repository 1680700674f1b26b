"""What a benchmark found of a model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.harness.proof import AppliedProof


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """One question of a task."""

    index: int
    """Of the row in its file."""
    filter: str
    """Which of the task's ways to read an answer; `none` where there is one."""
    responses: tuple[Any, ...]
    """Log-likelihood and whether it is greedy, of each choice; or the answer's text."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task, or a group of tasks."""

    task: str
    metrics: Mapping[str, float]
    """As the harness names them: `acc`, `acc_norm`; `exact_match,strict-match` where answers are read several ways."""
    errors: Mapping[str, float]
    """Standard error of each metric that has one."""
    num_questions: int
    questions: tuple[QuestionResult, ...]
    """Empty for a group."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """One model on all tasks."""

    model: str | None
    """Adapter reference; None is the base."""
    digest: str
    """Of the adapter version's content, or of the base's."""
    applied: AppliedProof | None
    """None for the base."""
    tasks: tuple[TaskResult, ...]
    seconds: float
    """Of the whole run, all models together."""

    def to_json(self, *, questions: bool = True) -> dict[str, Any]:
        """As JSON types; without the questions only what was made of them."""
        found = asdict(self)
        if not questions:
            for task in found["tasks"]:
                del task["questions"]
        return found
