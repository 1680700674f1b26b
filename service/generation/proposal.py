"""From the cases that a model failed to the rows that should be collected more of."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from corpus.findings import shortened
from corpus.messages import content_text
from corpus.records import Record
from corpus.synthetic.novelty import Novelty
from evaluation.errors import NothingToDoError
from evaluation.metrics import LOWER_IS_BETTER
from evaluation.results import CaseResult
from evaluation.suites.suite import SuiteCase

Kind = Literal["class", "confusion", "tag", "finding"]

TELLING: Final = (
    "accuracy", "sql", "json_fields", "json_schema", "json_valid", "numeric", "exact_match", "acc_norm", "acc",
    "regex", "judge", "f1", "rouge_l", "token_accuracy",
)  # fmt: skip
"""Metrics by which a case counts as failed where nobody names one, the strictest first."""
DEFAULT_BELOW = 0.5
_WORST_SHARE = 0.25
"""Of the cases, which count as failed by a metric that has no scale, such as the loss."""
_LEAST_LIKE = 0.05
"""ROUGE-L below which no seed is near a case."""
_NUM_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One case and what a model gave on it."""

    case: SuiteCase
    answer: CaseResult

    @property
    def prompt(self) -> str:
        """What was asked, for people and for likeness."""
        if self.case.prompt is not None:
            return self.case.prompt
        return content_text(self.case.messages[-1]) if self.case.messages else ""

    @property
    def label(self) -> str | None:
        """The class that was right, where classes were scored."""
        label = self.answer.details.get("label")
        return label if isinstance(label, str) else None

    def groups(self, classes: Collection[str]) -> Iterable[tuple[Kind, str]]:
        """All that the case is counted under; answers that are none of `classes` are one kind of confusion."""
        if self.label is not None:
            yield "class", self.label
            predicted = self.answer.details.get("predicted")
            if isinstance(predicted, str) and predicted != self.label:
                yield "confusion", f"{self.label} -> {predicted if predicted in classes else '(no class)'}"
        for tag in dict.fromkeys(self.case.tags):
            yield "tag", tag
        for finding in dict.fromkeys(self.answer.findings):
            yield "finding", finding


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cases that have something in common, and how many of them failed."""

    kind: Kind
    name: str
    failed: int
    cases: int
    rows: int
    """To collect; 0 where another kind of group divides the rows."""
    examples: tuple[str, ...]
    """Prompts of failed cases."""


@dataclass(frozen=True, kw_only=True)
class NearSeed:
    """A training row that failed cases are most like."""

    place: str
    """`file:line`."""
    failed: int
    """Cases that are nearest to it."""
    similarity: float
    """Of the most similar of them."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Which rows to collect more of."""

    metric: str
    below: float
    """A case failed whose score is less; of a metric that is better when lower: more."""
    cases: int
    failed: int
    divided_by: Kind | None
    """What the rows are divided by; None where the cases have nothing in common that is known beforehand."""
    groups: tuple[Group, ...]
    """Of each kind the one with the most failures first."""
    seeds: tuple[NearSeed, ...]
    """The one with the most failures first."""
    unlike: int
    """Failed cases that no seed is like: nothing of the kind is in the training rows."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ProposalOptions:
    """How a proposal is made."""

    rows: int = 100
    """To divide."""
    metric: str | None = None
    """By which a case fails; None: the first of `TELLING` that was measured, else the loss."""
    below: float | None = None
    """None: 0.5; of the loss: so that a quarter of the cases fail."""


def propose(answered: Sequence[Answered], seeds: Sequence[Record], options: ProposalOptions) -> Proposal:
    """Divide the rows to be collected among what fails most.

    Rows are divided in proportion to failures, by class where the cases have one, else by tag. Confusions and findings
    are told beside: nobody can collect rows by what a model will answer.

    Raises:
        NothingToDoError: No case has a score.
    """
    metric = options.metric or _metric(answered)
    scored = [(each, score) for each in answered if (score := _score(each.answer, metric)) is not None]
    if not scored:
        measured = sorted({name for each in answered for name in each.answer.scores})
        raise NothingToDoError(f"No case has a score of {metric!r}. Measured: {', '.join(measured) or 'nothing'}.")
    below = _below([score for _, score in scored], metric, options.below)
    failed = [each for each, score in scored if _fails(score, metric, below)]
    classes = {each.label for each in answered if each.label} | {record.label for record in seeds if record.label}
    groups = _groups([each for each, _ in scored], failed, classes)
    kinds = {group.kind for group in groups}
    divided_by: Kind | None = "class" if "class" in kinds else "tag" if "tag" in kinds else None
    near, unlike = _near(failed, seeds)
    return Proposal(
        metric=metric,
        below=below,
        cases=len(scored),
        failed=len(failed),
        divided_by=divided_by,
        groups=_divided(groups, divided_by, options.rows),
        seeds=near,
        unlike=unlike,
    )


def _metric(answered: Sequence[Answered]) -> str:
    measured = {name for each in answered for name, score in each.answer.scores.items() if score is not None}
    return next((name for name in TELLING if name in measured), "loss")


def _score(answer: CaseResult, metric: str) -> float | None:
    score = answer.scores.get(metric)
    return answer.loss if score is None and metric == "loss" else score


def _below(scores: Sequence[float], metric: str, given: float | None) -> float:
    if given is not None:
        return given
    if metric not in LOWER_IS_BETTER:
        return DEFAULT_BELOW
    return sorted(scores)[int((1 - _WORST_SHARE) * (len(scores) - 1))]


def _fails(score: float, metric: str, below: float) -> bool:
    return score > below if metric in LOWER_IS_BETTER else score < below


def _groups(answered: Sequence[Answered], failed: Sequence[Answered], classes: Collection[str]) -> list[Group]:
    all_cases = Counter(group for each in answered for group in each.groups(classes))
    members: dict[tuple[Kind, str], list[str]] = {}
    for each in failed:
        for group in each.groups(classes):
            members.setdefault(group, []).append(shortened(each.prompt))
    order: tuple[Kind, ...] = ("class", "tag", "confusion", "finding")
    found = [
        Group(
            kind=kind,
            name=name,
            failed=len(prompts),
            cases=all_cases[kind, name],
            rows=0,
            examples=tuple(prompts[:_NUM_EXAMPLES]),
        )
        for (kind, name), prompts in members.items()
    ]
    return sorted(found, key=lambda group: (order.index(group.kind), -group.failed, group.name))


def _divided(groups: Sequence[Group], kind: Kind | None, rows: int) -> tuple[Group, ...]:
    """Divide by largest remainders, so that the shares add up to `rows`."""
    shares = {group.name: group.failed for group in groups if group.kind == kind}
    whole = sum(shares.values())
    exact = {name: rows * failed / whole for name, failed in shares.items()}
    given = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: given[name] - exact[name])
    for name in by_remainder[: rows - sum(given.values())]:
        given[name] += 1
    return tuple(replace(each, rows=given[each.name]) if each.kind == kind else each for each in groups)


def _near(failed: Sequence[Answered], seeds: Sequence[Record]) -> tuple[tuple[NearSeed, ...], int]:
    """Find for each failed case the seed that is most like it, of its own class where it has one."""
    index_of = _indices(seeds)
    texts = {_place(record): shortened(_text(record)) for record in seeds}
    hits: Counter[str] = Counter()
    best: dict[str, float] = {}
    unlike = 0
    for each in failed:
        near = index_of(each.label).nearest(each.prompt)
        if near is None:
            unlike += 1
            continue
        hits[near.place] += 1
        best[near.place] = max(best.get(near.place, 0.0), near.similarity)
    found = [
        NearSeed(place=place, failed=count, similarity=round(best[place], 4), text=texts[place])
        for place, count in hits.items()
    ]
    return tuple(sorted(found, key=lambda seed: (-seed.failed, -seed.similarity, seed.place))), unlike


def _indices(seeds: Sequence[Record]) -> Callable[[str | None], Novelty]:
    """One index of all seeds, and one for each class as it is asked for."""
    made: dict[str | None, Novelty] = {}
    classes: Mapping[str, list[Record]] = _by_answer(seeds)

    def index_of(label: str | None) -> Novelty:
        if label not in made:
            index = made[label] = Novelty(max_similarity=_LEAST_LIKE)
            for record in seeds if label is None else classes.get(label, ()):
                index.add(_text(record), "seed", _place(record))
        return made[label]

    return index_of


def _by_answer(seeds: Sequence[Record]) -> Mapping[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in seeds:
        found.setdefault(record.completion, []).append(record)
    return found


def _text(record: Record) -> str:
    return record.prompt if record.kind == "chat" else record.text


def _place(record: Record) -> str:
    return f"{record.file}:{record.line}"
