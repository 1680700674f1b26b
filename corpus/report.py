"""What there is to know about a dataset before it is trained on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from corpus.columns import LayoutName
from corpus.dataset import Dataset, empty_prompts
from corpus.duplicates import (
    Group,
    NearDuplicate,
    conflicting_answers,
    duplicate_prompts,
    duplicate_rows,
    near_duplicates,
)
from corpus.notices import Notice, notice
from corpus.records import Record
from corpus.rows import BadRow
from corpus.split import Leak, leakage
from corpus.tokens import Tokens, TokenStatistics, token_statistics

Tokenise = Callable[[Record], Tokens]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Findings about one dataset. Problems are reasons to refuse it; warnings are not."""

    file: str
    digest: str
    """SHA-256 of the file's bytes, hexadecimal."""
    layout: LayoutName
    num_rows: int
    """All rows of the file."""
    num_usable: int
    """Rows that became records and could be tokenised."""
    bad: tuple[BadRow, ...]
    empty_prompts: tuple[int, ...]
    """Lines."""
    duplicate_rows: tuple[Group, ...]
    duplicate_prompts: tuple[Group, ...]
    """Includes the duplicate rows."""
    near_duplicates: tuple[NearDuplicate, ...]
    conflicting_answers: tuple[Group, ...]
    """One prompt, several different completions."""
    leakage: tuple[Leak, ...]
    """Test records that stand in the training set; empty without a test set."""
    tokens: TokenStatistics | None
    """None where no tokeniser was given, or no row could be tokenised."""
    labels: Mapping[str, int]
    """Classification: rows of each label, the most frequent first. Empty otherwise."""
    problems: tuple[Notice, ...] = ()
    warnings: tuple[Notice, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return asdict(self)


def check(
    dataset: Dataset,
    *,
    tokenise: Tokenise | None = None,
    max_length: int | None = None,
    test: Dataset | None = None,
    skip_bad: bool = False,
) -> Report:
    """Look a dataset over.

    Args:
        dataset: Loaded with `skip_bad=True` if its bad rows are to be reported rather than raised.
        tokenise: Renders a record to tokens; a ValueError it raises makes that row a bad row.
        max_length: Limit in tokens that rows will be cut at.
        test: A set to look for the dataset's prompts in.
        skip_bad: Bad rows are a warning, not a problem.
    """
    tokenised, untokenisable = _tokenised(dataset.records, tokenise, max_length)
    refused = {row.line for row in untokenisable}
    records = [record for record in dataset.records if record.line not in refused]
    report = Report(
        file=dataset.path,
        digest=dataset.digest,
        layout=dataset.layout.name,
        num_rows=dataset.num_rows,
        num_usable=len(records),
        bad=tuple(sorted(dataset.bad + untokenisable, key=lambda row: row.line)),
        empty_prompts=empty_prompts(records),
        duplicate_rows=duplicate_rows(records),
        duplicate_prompts=duplicate_prompts(records),
        near_duplicates=near_duplicates(records),
        conflicting_answers=conflicting_answers(records),
        leakage=leakage(records, test.records) if test is not None else (),
        tokens=token_statistics(tokenised, max_length) if tokenised else None,
        labels=dict(Counter(record.label for record in records if record.label is not None).most_common()),
    )
    return replace(report, problems=_problems(report, skip_bad), warnings=_warnings(report, skip_bad))


@dataclass(frozen=True, slots=True)
class _Window:
    """A piece of a text that is learnt in pieces."""

    input_ids: Sequence[int]
    labelled: Sequence[bool]


def _pieces(record: Record, tokens: Tokens, max_length: int | None) -> list[Tokens]:
    """Texts are learnt in windows, so that nothing of them is cut off; conversations are one row each."""
    if record.kind == "chat" or max_length is None:
        return [tokens]
    starts = range(0, len(tokens.input_ids), max_length)
    return [_Window(tokens.input_ids[at : at + max_length], tokens.labelled[at : at + max_length]) for at in starts]


def _tokenised(
    records: Sequence[Record], tokenise: Tokenise | None, max_length: int | None
) -> tuple[list[tuple[int, Tokens]], tuple[BadRow, ...]]:
    rows: list[tuple[int, Tokens]] = []
    bad = []
    for record in records if tokenise is not None else ():
        assert tokenise is not None
        try:
            rows += [(record.line, piece) for piece in _pieces(record, tokenise(record), max_length)]
        except ValueError as error:
            bad.append(BadRow(file=record.file, line=record.line, reason=str(error)))
    return rows, tuple(bad)


def _problems(report: Report, skip_bad: bool) -> tuple[Notice, ...]:
    found = []
    if report.bad and not skip_bad:
        found.append(notice("bad_rows", "bad rows", len(report.bad), [row.line for row in report.bad]))
    if report.num_usable == 0:
        lines = [row.line for row in report.bad]
        found.append(notice("no_usable_rows", "rows, none of them usable", report.num_rows, lines))
    if report.tokens is not None and report.tokens.kept_labelled == 0:
        lines = list(report.tokens.unlabelled_lines)
        found.append(notice("nothing_to_learn", "rows, none with a labelled token", len(lines), lines))
    return tuple(found)


def _warnings(report: Report, skip_bad: bool) -> tuple[Notice, ...]:
    bad = [row.line for row in report.bad] if skip_bad else []
    near = report.near_duplicates
    found = [
        notice("bad_rows", "bad rows left out", len(bad), bad),
        notice("empty_prompt", "rows with an empty prompt", len(report.empty_prompts), report.empty_prompts),
        _group_notice("duplicate_rows", "groups of equal rows", report.duplicate_rows),
        _group_notice("duplicate_prompts", "groups of equal prompts", report.duplicate_prompts),
        _group_notice("conflicting_answers", "prompts with different answers", report.conflicting_answers),
        notice("near_duplicates", "pairs of nearly equal prompts", len(near), [pair.second_line for pair in near]),
        _leak_notice([leak for leak in report.leakage if leak.exact], "leakage", "equal"),
        _leak_notice([leak for leak in report.leakage if not leak.exact], "near_leakage", "nearly equal"),
    ]
    return tuple(item for item in (*found, *_token_warnings(report.tokens)) if item.count)


def _group_notice(code: str, what: str, groups: Sequence[Group]) -> Notice:
    return notice(code, what, len(groups), [line for group in groups for line in group.lines])


def _leak_notice(leaks: Sequence[Leak], code: str, how: str) -> Notice:
    what = f"test rows whose prompt is {how} to one in the training set"
    return notice(code, what, len(leaks), [leak.test_line for leak in leaks])


def _token_warnings(tokens: TokenStatistics | None) -> tuple[Notice, ...]:
    if tokens is None:
        return ()
    cut = f"rows longer than {tokens.max_length} tokens, which will be cut"
    unlabelled = tokens.unlabelled_lines
    return (
        notice("truncated", cut, len(tokens.truncated_lines), tokens.truncated_lines),
        notice("no_label", "rows without a labelled token", len(unlabelled), unlabelled),
    )
