"""What there is to know about a dataset before it is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corpus.classes import class_statistics
from corpus.dataset import DataFile, Dataset
from corpus.findings import Finding, Sample, finding
from corpus.language import languages
from corpus.records import Record
from corpus.row_findings import row_findings, whole_text
from corpus.rows import BadRow
from corpus.set_findings import class_findings, leakage_findings, outlier_findings, repetition_findings
from corpus.split import leakage
from corpus.tokens import RowTokens, TokenStatistics, token_statistics
from corpus.usable import CheckOptions, Sorted, Tokenise, sort_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Findings about one dataset."""

    files: tuple[DataFile, ...]
    digest: str
    """Of all of them: `Dataset.digest`."""
    num_rows: int
    """All rows looked at, usable or not."""
    num_usable: int
    """Rows that can be trained on."""
    unusable: tuple[BadRow, ...]
    """The others, each with its reason."""
    tokens: TokenStatistics | None
    """None where no tokeniser was given, or no row is usable."""
    rows: tuple[RowTokens, ...]
    """The counts of each usable row; left out of the JSON."""
    classes: Mapping[str, int]
    """Classification: rows of each class, the most frequent first. Empty otherwise."""
    languages: Mapping[str, int]
    """Rows of each language that could be told, by ISO 639 code, the most frequent first."""
    findings: tuple[Finding, ...]
    """Refusals first."""

    @property
    def file(self) -> str:
        """The files' paths, for people."""
        return ", ".join(file.path for file in self.files)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Reasons not to train."""
        return tuple(found for found in self.findings if found.severity == "refusal")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth knowing and forbids nothing."""
        return tuple(found for found in self.findings if found.severity == "warning")

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        plain = asdict(self)
        del plain["rows"]
        return plain


def check(
    dataset: Dataset,
    *,
    tokenise: Tokenise | None = None,
    validation: Sequence[Record] = (),
    options: CheckOptions | None = None,
    held_out: bool = False,
) -> Report:
    """Look a dataset over.

    Args:
        dataset: Loaded with `skip_bad=True` if its bad rows are to be reported rather than raised.
        tokenise: Renders a record to tokens; a ValueError it raises makes that row unusable.
        validation: Held-out records to look for the dataset's prompts in.
        options: Limits and strictness.
        held_out: These are rows to measure by: what repeats among them, or stands out, is not asked.
    """
    options = options or CheckOptions()
    parts = sort_out(dataset, tokenise, options)
    records = parts.usable
    looked_at = () if held_out else records
    classes = class_statistics(records)
    spoken = languages([whole_text(record) for record in looked_at])
    found = [
        *parts.findings,
        *_truncation(parts, options.max_length),
        *leakage_findings(leakage(records, validation) if validation else (), validation),
        *repetition_findings(looked_at, classes),
        *row_findings(records),
        *outlier_findings(looked_at, spoken),
        *class_findings(looked_at, classes if looked_at else None),
    ]
    return Report(
        files=dataset.files,
        digest=dataset.digest,
        num_rows=dataset.num_rows,
        num_usable=len(records),
        unusable=parts.unusable,
        tokens=token_statistics(parts.tokens, options.max_length) if parts.tokens else None,
        rows=parts.tokens,
        classes={} if classes is None else classes.counts,
        languages=spoken.counts,
        findings=tuple(item for item in found if item.count),
    )


def _truncation(parts: Sorted, max_length: int | None) -> list[Finding]:
    cut = [row for row in parts.tokens if row.kept < row.length]
    cut.sort(key=lambda row: (row.kept_labelled - row.labelled, row.kept - row.length))
    lost = sum(row.labelled - row.kept_labelled for row in cut)
    total = sum(row.labelled for row in parts.tokens)
    if not cut:
        return []
    longest = max(row.length for row in cut)
    return [
        finding(
            "truncated",
            f"rows longer than {max_length:,} tokens, which will be cut: {{count}}; {lost:,} labelled tokens "
            f"({lost / total:.1%}) are lost",
            samples=[Sample(file=row.file, line=row.line, detail=_cut(row)) for row in cut],
            rows=cut,
            fix=f"--max-length {longest} keeps all of them, at the price of memory; or shorten them",
        )
    ]


def _cut(row: RowTokens) -> str:
    return f"{row.length:,} tokens, of those to be learnt {row.labelled - row.kept_labelled:,} are lost"
