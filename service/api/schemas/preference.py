"""`/evaluations/{id}/judge`: which of two models' answers a judge prefers."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from evaluation.statistics.paired import Verdict
from service.api.schemas.evaluations import Compared
from service.api.schemas.schema import ModelName, Reply, Schema
from service.evaluation.preference import MAX_CASES, JudgedCase, Preference


class JudgeBody(Schema):
    """What is to be judged, and by whom."""

    baseline: Annotated[str, Field(alias="with", pattern="^[A-Za-z0-9-]{1,64}$")]
    """The evaluation to hold this one against; itself: its other models against its first."""
    model: ModelName | None = None
    """Of this evaluation; default all."""
    with_model: ModelName | None = None
    """Of the baseline; default all."""
    judge: ModelName | None = None
    """Reference of the model that judges; default the operator's."""
    max_cases: Annotated[int, Field(ge=1, le=MAX_CASES)] = 256
    """The first so many that both have answered."""


class JudgedCaseReply(Reply):
    """One case."""

    index: int
    winner: Literal["before", "after", "tie"] | None
    """A win holds in both orders; null: a verdict cannot be read."""
    agrees: bool | None
    """Whether both orders gave the same winner."""
    reasons: list[str]
    """What the judge said with the answer of `after` first, and with it second."""

    @classmethod
    def of(cls, case: JudgedCase) -> "JudgedCaseReply":
        """Of a case."""
        return cls.model_validate({**vars(case), "reasons": list(case.reasons)})


class PreferenceReply(Reply):
    """Two models as a judge sees them."""

    object: Literal["evaluation.preference"] = "evaluation.preference"
    judge: str
    before: Compared
    after: Compared
    num_cases: int
    after_wins: int
    before_wins: int
    ties: int
    """Cases whose orders disagree among them."""
    unreadable: int
    """Cases of which a verdict cannot be read in one of the orders."""
    agreement: float | None
    """The share of readable cases in which both orders gave one winner; null without any."""
    win_rate: float | None
    """Of `after`: wins and half the ties, over the readable cases."""
    p_value: float
    """Of the exact test whether both win equally often."""
    verdict: Verdict
    cases: list[JudgedCaseReply]

    @classmethod
    def of(cls, found: Preference) -> "PreferenceReply":
        """Of what was judged."""
        paired, summary = found.paired, found.summary
        return cls(
            judge=found.judge,
            before=Compared(evaluation=paired.before_run.id, model=str(paired.before.model)),
            after=Compared(evaluation=paired.after_run.id, model=str(paired.after.model)),
            num_cases=summary.num_pairs,
            after_wins=summary.first_wins,
            before_wins=summary.second_wins,
            ties=summary.ties,
            unreadable=summary.unreadable,
            agreement=summary.agreement,
            win_rate=summary.win_rate,
            p_value=found.p_value,
            verdict=found.verdict,
            cases=[JudgedCaseReply.of(case) for case in found.cases],
        )


class PreferenceList(Reply):
    """One for each pair of models."""

    object: Literal["list"] = "list"
    data: list[PreferenceReply]

    @classmethod
    def of(cls, found: Sequence[Preference]) -> "PreferenceList":
        """Of what was judged."""
        return cls(data=[PreferenceReply.of(each) for each in found])
