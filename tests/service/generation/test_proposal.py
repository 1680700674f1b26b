from typing import Any

import pytest

from corpus.records import Record
from evaluation.errors import NothingToDoError
from evaluation.results import CaseResult
from evaluation.suites.suite import SuiteCase
from service.generation.proposal import Answered, Group, ProposalOptions, propose


def answered(index: int, prompt: str, score: float | None, *, tags: tuple[str, ...] = (), **fields: Any) -> Answered:
    answer = CaseResult(index=index, scores={} if score is None else {"exact_match": score}, **fields)
    return Answered(case=SuiteCase(prompt=prompt, tags=tags), answer=answer)


def classified(index: int, prompt: str, label: str, predicted: str) -> Answered:
    answer = CaseResult(
        index=index, scores={"accuracy": float(label == predicted)}, details={"label": label, "predicted": predicted}
    )
    return Answered(case=SuiteCase(prompt=prompt), answer=answer)


def seed(line: int, prompt: str, answer: str) -> Record:
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    return Record(kind="chat", file="train.jsonl", line=line, row={}, messages=messages)


def group(groups: tuple[Group, ...], kind: str, name: str) -> Group:
    return next(each for each in groups if (each.kind, each.name) == (kind, name))


CLASSES = [
    classified(0, "where is my card", "arrival", "lost"),
    classified(1, "is my card coming", "arrival", "lost"),
    classified(2, "has my card left", "arrival", "cancel"),
    classified(3, "stop the transfer", "cancel", "arrival"),
    classified(4, "cancel the transfer", "cancel", "cancel"),
    classified(5, "i lost my card", "lost", "lost"),
]


def test_rows_are_divided_by_the_failures_of_each_class() -> None:
    proposal = propose(CLASSES, (), ProposalOptions(rows=10))

    assert (proposal.metric, proposal.cases, proposal.failed, proposal.divided_by) == ("accuracy", 6, 4, "class")
    arrival, cancel = group(proposal.groups, "class", "arrival"), group(proposal.groups, "class", "cancel")
    assert (arrival.failed, arrival.cases, arrival.rows) == (3, 3, 8)
    assert (cancel.failed, cancel.cases, cancel.rows) == (1, 2, 2)
    assert "lost" not in {each.name for each in proposal.groups if each.kind == "class"}
    assert arrival.examples == ("where is my card", "is my card coming", "has my card left")


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
def test_the_shares_add_up(rows: int) -> None:
    assert sum(each.rows for each in propose(CLASSES, (), ProposalOptions(rows=rows)).groups) == rows


def test_confusions_are_told_and_get_no_rows() -> None:
    proposal = propose(CLASSES, (), ProposalOptions(rows=10))

    worst = next(each for each in proposal.groups if each.kind == "confusion")
    assert (worst.name, worst.failed, worst.rows) == ("arrival -> lost", 2, 0)


def test_answers_that_are_no_class_are_one_kind_of_confusion() -> None:
    cases = [classified(index, "where", "arrival", f"sorry {index}") for index in range(2)]

    confusion = group(propose(cases, (), ProposalOptions()).groups, "confusion", "arrival -> (no class)")
    assert (confusion.failed, confusion.cases) == (2, 2)


def test_without_classes_rows_are_divided_by_tag_and_findings_are_told() -> None:
    cases = [
        answered(0, "join two tables", 0.0, tags=("join",), findings=("off_format",)),
        answered(1, "join three tables", 0.0, tags=("join",)),
        answered(2, "count the rows", 1.0, tags=("count",), findings=("off_format",)),
        answered(3, "what went wrong", None, tags=("join",)),
    ]

    proposal = propose(cases, (), ProposalOptions(rows=10))

    assert (proposal.cases, proposal.failed, proposal.divided_by) == (3, 2, "tag")
    assert (group(proposal.groups, "tag", "join").rows, group(proposal.groups, "tag", "join").cases) == (10, 2)
    finding = group(proposal.groups, "finding", "off_format")
    assert (finding.failed, finding.cases, finding.rows) == (1, 2, 0)


def test_the_training_rows_that_are_like_failures_are_named_within_the_class() -> None:
    seeds = [
        seed(1, "when will my card come", "arrival"),
        seed(2, "where is my card", "lost"),
        seed(3, "weather of today", "arrival"),
        seed(4, "please stop the transfer", "cancel"),
    ]

    proposal = propose(CLASSES, seeds, ProposalOptions())

    assert [(each.place, each.failed) for each in proposal.seeds] == [("train.jsonl:1", 3), ("train.jsonl:4", 1)]
    assert proposal.seeds[1].similarity == pytest.approx(6 / 7, abs=1e-4)
    assert proposal.unlike == 0


def test_failures_that_no_row_is_like_are_counted() -> None:
    proposal = propose(CLASSES, [seed(1, "please stop the transfer", "cancel")], ProposalOptions())

    assert proposal.unlike == 3


def test_a_bound_and_a_metric_can_be_named() -> None:
    cases = [answered(index, "p", score) for index, score in enumerate((0.2, 0.6, 0.9))]

    assert propose(cases, (), ProposalOptions()).failed == 1
    assert propose(cases, (), ProposalOptions(metric="exact_match", below=0.7)).failed == 2
    with pytest.raises(NothingToDoError, match=r"No case has a score of 'sql'\. Measured: exact_match"):
        propose(cases, (), ProposalOptions(metric="sql"))


def test_by_the_loss_the_worst_quarter_has_failed() -> None:
    cases = [answered(index, f"p{index}", None, loss=float(index)) for index in range(9)]

    proposal = propose(cases, (), ProposalOptions())

    assert (proposal.metric, proposal.below, proposal.failed) == ("loss", 6.0, 2)


def test_where_nothing_failed_nothing_is_proposed() -> None:
    proposal = propose([answered(0, "p", 1.0, tags=("a",))], [seed(1, "p", "a")], ProposalOptions())

    assert (proposal.failed, proposal.groups, proposal.seeds) == (0, (), ())
