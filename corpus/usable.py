"""Which records of a dataset can be trained on, and why the others cannot."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from corpus.control_tokens import control_tokens
from corpus.dataset import Dataset
from corpus.findings import Finding, Sample, Severity, finding, shortened
from corpus.records import Record
from corpus.rows import BadRow
from corpus.tokens import RowTokens, Tokens, count_tokens

Tokenise = Callable[[Record], Tokens]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """What a check is told."""

    max_length: int | None = None
    """Rows will be cut after so many tokens; None cuts nothing."""
    skip_bad: bool = False
    """Leave rows out that cannot be used, as a warning; otherwise they are a refusal."""
    own_tokens: frozenset[str] = frozenset()
    """Control tokens that the base's tokenizer knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sorted:
    """The records of a dataset, divided."""

    usable: tuple[Record, ...]
    tokens: tuple[RowTokens, ...]
    """Of the usable records; empty without a tokeniser. A text has one for each window."""
    unusable: tuple[BadRow, ...]
    """Every row left out, file after file, each in file order."""
    findings: tuple[Finding, ...]


def sort_out(dataset: Dataset, tokenise: Tokenise | None, options: CheckOptions) -> Sorted:
    """Divide the rows of `dataset` into those that can be trained on and the rest."""
    marked = _marked(dataset.records, options.own_tokens)
    reasons = {"bad_rows": list(dataset.bad), "control_tokens": marked, "unrenderable": [], "no_label": []}
    usable: list[Record] = []
    tokens: list[RowTokens] = []
    skipped = {(row.file, row.line) for row in marked}
    for record in dataset.records:
        if (record.file, record.line) in skipped:
            continue
        rows = _counted(record, tokenise, options.max_length, reasons)
        if rows is not None:
            usable.append(record)
            tokens += rows
    place = {file.path: number for number, file in enumerate(dataset.files)}
    every = (row for rows in reasons.values() for row in rows)
    unusable = sorted(every, key=lambda row: (place[row.file], row.line))
    return Sorted(
        usable=tuple(usable),
        tokens=tuple(tokens),
        unusable=tuple(unusable),
        findings=tuple(_findings(dataset, usable, reasons, options)),
    )


def _counted(
    record: Record, tokenise: Tokenise | None, max_length: int | None, reasons: dict[str, list[BadRow]]
) -> list[RowTokens] | None:
    """Count a record's tokens, or note why it cannot be used and return None."""
    if tokenise is None:
        return []
    try:
        counted = count_tokens(record, tokenise(record), max_length)
    except ValueError as error:
        reasons["unrenderable"].append(BadRow(file=record.file, line=record.line, reason=str(error)))
        return None
    rows = [row for row in counted if row.kept_labelled]
    if not rows:
        reason = _unlabelled(counted[0], max_length)
        reasons["no_label"].append(BadRow(file=record.file, line=record.line, reason=reason))
        return None
    return rows


def _unlabelled(row: RowTokens, max_length: int | None) -> str:
    if not row.labelled:
        return "no token of it is to be learnt"
    return f"its prompt takes {row.first_label} tokens, the limit is {max_length}: nothing of the completion is left"


def _marked(records: Sequence[Record], own: Collection[str]) -> list[BadRow]:
    found = []
    for record in records:
        mark = next(control_tokens(record, own), None)
        if mark is not None:
            whose = "a control token of this base" if mark.own else f"a control token of {mark.family}"
            reason = f"{mark.where} holds {mark.token!r}, {whose}"
            found.append(BadRow(file=record.file, line=record.line, reason=reason))
    return found


_MESSAGES = {
    "bad_rows": ("rows that cannot be used: {count}", "mend them"),
    "control_tokens": (
        "rows with control tokens of a chat template in their text: {count}",
        "give the plain text or `messages`, not rendered conversations: the base's template is applied here",
    ),
    "unrenderable": ("rows that do not fit the base's template: {count}", "mend them, or use --template plain"),
    "no_label": ("rows with nothing left to learn: {count}", "raise --max-length or shorten their prompts"),
}


def _findings(
    dataset: Dataset, usable: Sequence[Record], reasons: dict[str, list[BadRow]], options: CheckOptions
) -> list[Finding]:
    severity: Severity = "warning" if options.skip_bad else "refusal"
    found = []
    for code, rows in reasons.items():
        message, fix = _MESSAGES[code]
        found.append(
            finding(
                code,
                f"{message}; they are left out" if options.skip_bad else message,
                samples=[Sample(file=row.file, line=row.line, detail=shortened(row.reason, 240)) for row in rows],
                rows=rows,
                fix=fix if options.skip_bad else f"{fix}, or leave them out with --skip-bad",
                severity=severity,
            )
        )
    if not usable:
        nothing = f"none of the {dataset.num_rows:,} rows can be learnt from"
        found.append(finding("nothing_to_learn", nothing, count=dataset.num_rows, fix="", severity="refusal"))
    return found
