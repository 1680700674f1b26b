"""What `lorad data check` shows a person."""

from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from corpus.dataset import Dataset
from corpus.records import Record
from corpus.report import Report
from corpus.rows import BadRow
from corpus.tokens import Histogram, Tokens, TokenStatistics

_LISTED_ROWS = 20
_BAR_CHARS = 40


def print_report(
    console: Console,
    report: Report,
    dataset: Dataset,
    tokenise: Callable[[Record], Tokens],
    decode: Callable[[int], str],
) -> None:
    """Prints the figures, the histogram, bad rows, the first row with its mask, and the verdict."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(report).items():
        facts.add_row(name, value)
    console.print(Text(report.file, style="bold"), facts, sep="\n")
    if report.tokens is not None:
        console.print("", _histogram(report.tokens.histogram), sep="\n")
    console.print(_bad_rows(report.bad), end="")
    bad_lines = {row.line for row in report.bad}
    first = next((record for record in dataset.records if record.line not in bad_lines), None)
    if first is not None:
        console.print("", _as_seen(first, tokenise(first), decode, report.tokens), sep="\n")
    console.print(_verdict(report))


def _bad_rows(bad: Sequence[BadRow]) -> Text:
    text = Text()
    for row in bad[:_LISTED_ROWS]:
        text.append(f"  {row.file}:{row.line}: {row.reason}\n", style="red")
    if len(bad) > _LISTED_ROWS:
        text.append(f"  and {len(bad) - _LISTED_ROWS} more bad rows\n")
    return text


def _verdict(report: Report) -> Group:
    lines = [Text(f"warning: {warning.message}", style="yellow") for warning in report.warnings]
    lines += [
        Text(f"problem: {problem.message}; mend the file, or use --skip-bad", style="bold red")
        for problem in report.problems
    ]
    if not report.problems:
        lines.append(Text("no problems: training would accept this file", style="green"))
    return Group(*lines)


def _facts(report: Report) -> dict[str, str]:
    facts = {
        "layout": report.layout,
        "rows": f"{report.num_rows} ({report.num_usable} usable, {len(report.bad)} bad)",
        "empty prompts": str(len(report.empty_prompts)),
        "duplicates": f"{len(report.duplicate_rows)} groups of rows, {len(report.duplicate_prompts)} of prompts, "
        f"{len(report.conflicting_answers)} with different answers",
        "near-duplicates": f"{len(report.near_duplicates)} pairs",
    }
    if report.labels:
        least, most = list(report.labels.items())[-1], next(iter(report.labels.items()))
        facts["labels"] = f"{len(report.labels)}, from {least[0]} ({least[1]} rows) to {most[0]} ({most[1]} rows)"
    if report.tokens is not None:
        tokens = report.tokens
        facts["tokens"] = f"{tokens.total:,} ({tokens.labelled:,} labelled), {tokens.kept_total:,} within the limit"
        facts["tokens a row"] = f"{tokens.min} to {tokens.max}, median {tokens.median:g}, 90% at most {tokens.p90}"
        facts["truncated"] = f"{len(tokens.truncated_lines)} rows beyond {tokens.max_length} tokens"
        facts["without label"] = f"{len(tokens.unlabelled_lines)} rows"
    if report.leakage:
        exact = sum(leak.exact for leak in report.leakage)
        facts["leakage"] = f"{exact} test rows equal a training prompt, {len(report.leakage) - exact} nearly do"
    return facts


def _histogram(histogram: Histogram) -> Text:
    most = max(histogram.counts)
    filled = [at for at, count in enumerate(histogram.counts) if count]
    text = Text("tokens a row", style="bold")
    for at in range(filled[0], filled[-1] + 1):
        low, high, count = histogram.edges[at], histogram.edges[at + 1] - 1, histogram.counts[at]
        text.append(f"\n{low:>6}-{high:<6} {count:>6} ", style="not bold")
        text.append("█" * round(count / most * _BAR_CHARS), style="not bold cyan")
    return text


def _as_seen(record: Record, tokens: Tokens, decode: Callable[[int], str], statistics: TokenStatistics | None) -> Text:
    limit = statistics.max_length if statistics is not None else None
    text = Text.assemble(
        (f"line {record.line} as the model sees it", "bold"),
        " (",
        ("learnt", "bold green"),
        ", ",
        ("given", "dim"),
        ")\n",
    )
    for token, labelled in list(zip(tokens.input_ids, tokens.labelled, strict=True))[:limit]:
        text.append(decode(token), style="bold green" if labelled else "dim")
    return text
