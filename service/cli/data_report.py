"""What a person sees of a preflight: the figures, what is wrong with which rows, the way out, and the verdict."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from corpus.dataset import DataFile
from corpus.findings import Finding, Located, shortened
from corpus.records import Record
from corpus.report import Report
from corpus.secrets import hide_secrets
from corpus.tokens import Histogram, Tokens
from service.cli.console import duration, size_text
from service.preflight.estimate import Estimate
from service.preflight.report import BaseSummary, Preflight
from service.preflight.summary import mebibytes

Decode = Callable[[Sequence[int]], str]

_BAR_CHARS = 32
_NUM_LANGUAGES = 4
_BODY_SHARE = 0.995
"""Rows that get a bar each; the long tail shares one."""
_SEEN_TOKENS = 160
_LABEL_CHARS = 13


def print_preflight(
    console: Console, preflight: Preflight, seen: Sequence[tuple[Record, Tokens]], decode: Decode
) -> None:
    """Prints the whole report.

    Args:
        console: where to.
        preflight: what was found.
        seen: rows to show as the model sees them, with their tokens.
        decode: the text of some tokens.
    """
    console.print(_heading(preflight.train, preflight.base))
    console.print(_facts(preflight))
    if preflight.train.tokens is not None:
        console.print(_block("tokens a row", _histogram(preflight.train.tokens.histogram)))
    for record, tokens in seen:
        title = f"{_place(record, preflight)} as the model sees it"
        console.print(_block(title, _as_seen(tokens, preflight.max_length, decode)))
    for found in (*preflight.refusals, *preflight.warnings):
        console.print(_finding(found, preflight))
    console.print(_verdict(preflight), end="")


def _heading(report: Report, base: BaseSummary) -> Text:
    rows = f"{report.num_rows:,} rows" + (
        "" if report.num_usable == report.num_rows else f", {report.num_usable:,} usable"
    )
    one = len(report.files) == 1
    return Text.assemble(
        *(part for file in report.files for part in ((file.path, "bold"), f"\n{_described(file, alone=one)}")),
        rows if one else f"together {rows}",
        (
            f"\nfor {base.name}: {base.num_parameters / 1e6:,.1f} M parameters, {base.template} template, "
            f"{base.context_tokens:,} tokens of context\n",
            "dim",
        ),
    )


def _described(file: DataFile, *, alone: bool) -> str:
    drawn = "" if file.weight == 1 else f"drawn {file.weight:g} times an epoch, "
    return f"{file.layout}, {drawn}" if alone else f"{file.layout}, {drawn}{file.num_rows:,} rows\n"


def _facts(preflight: Preflight) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True, min_width=_LABEL_CHARS)
    table.add_column(overflow="fold")
    for name, value in _named_facts(preflight):
        table.add_row(name, value)
    return table


def _named_facts(preflight: Preflight) -> Iterator[tuple[str, str]]:
    report, expected = preflight.train, preflight.estimate
    if report.tokens is not None:
        tokens = report.tokens
        share = tokens.kept_labelled / tokens.kept_total
        yield "tokens", f"{tokens.kept_total:,}, of those {tokens.kept_labelled:,} to be learnt ({share:.0%})"
        yield "a row", f"{tokens.min:,} to {tokens.max:,}, median {tokens.median:g}, nine of ten at most {tokens.p90:,}"
    if report.classes:
        names = list(report.classes)
        yield (
            "classes",
            f"{len(names):,}; {names[0]} {report.classes[names[0]]:,} … {names[-1]} {report.classes[names[-1]]:,}",
        )
    if report.languages:
        yield "languages", ", ".join(_languages(report))
    if preflight.validation is not None:
        held_out = preflight.validation
        yield "validation", f"{held_out.num_rows:,} rows, {held_out.num_usable:,} usable ({held_out.file})"
    if expected is not None:
        yield from _cost(expected)
    if preflight.time is not None:
        found = preflight.time
        yield "time", f"about {duration(found.seconds)}, {found.tokens_per_second:.0f} tokens a second in training"
    for place, choice in enumerate(preflight.choices):
        yield "" if place else "auto", f"{choice.name.replace('_', ' ')} {choice.value:g}: {choice.reason}"


def _cost(expected: Estimate) -> Iterator[tuple[str, str]]:
    yield "steps", f"{expected.steps:,}, {expected.steps_per_epoch:,} an epoch; {expected.tokens:,} tokens in all"
    parts = expected.memory
    named = {
        "weights": parts.weights_bytes,
        "activations": parts.activations_bytes + parts.working_bytes,
        "adapter and optimizer": parts.adapter_bytes,
        "logits": parts.logits_bytes,
        "libraries": parts.resident_bytes,
    }
    largest = sorted(named.items(), key=lambda part: -part[1])
    needs = f"about {size_text(expected.needs_bytes)}, free {size_text(expected.free_bytes)}"
    yield "memory", f"{needs} ({', '.join(f'{name} {size / 2**30:.2f}' for name, size in largest)})"
    yield "adapter", mebibytes(expected.adapter_bytes)


def _languages(report: Report) -> Iterator[str]:
    yield from (f"{name} {count:,}" for name, count in islice(report.languages.items(), _NUM_LANGUAGES))
    more = len(report.languages) - _NUM_LANGUAGES
    if more > 0:
        yield f"{more} more"
    untold = report.num_usable - sum(report.languages.values())
    if untold:
        yield f"not told {untold:,}"


def _histogram(histogram: Histogram) -> Table:
    most = max(histogram.counts)
    filled = [at for at, count in enumerate(histogram.counts) if count]
    last = _tail(histogram.counts)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column(justify="right")
    table.add_column(style="cyan")
    for at in range(filled[0], last + 1):
        end = filled[-1] if at == last else at
        low, high, count = histogram.edges[at], histogram.edges[end + 1] - 1, sum(histogram.counts[at : end + 1])
        bar = "█" * round(count / most * _BAR_CHARS) or ("▏" if count else "")
        table.add_row(f"{low:,}-{high:,}", f"{count:,}", bar)
    return table


def _tail(counts: Sequence[int]) -> int:
    """The bin from which on so few rows are left that they are shown together."""
    total, seen = sum(counts), 0
    for at, count in enumerate(counts):
        if seen >= _BODY_SHARE * total:
            return at
        seen += count
    return max(at for at, count in enumerate(counts) if count)


def _as_seen(tokens: Tokens, max_length: int, decode: Decode) -> Text:
    text = Text()
    pairs = list(zip(tokens.input_ids, tokens.labelled, strict=True))[:max_length]
    # Runs of tokens, not single ones: a letter may be spread over several.
    for labelled, run in groupby(pairs[:_SEEN_TOKENS], key=lambda pair: pair[1]):
        shown = hide_secrets(decode([token for token, _ in run]))
        text.append(shown.rstrip("\ufffd"), style="bold green" if labelled else "dim")
    if len(pairs) > _SEEN_TOKENS:
        text.append(f" … {len(pairs) - _SEEN_TOKENS:,} tokens more", style="dim italic")
    learnt = decode([token for token, labelled in pairs if labelled])
    text.append("\nlearnt: ", style="not dim cyan")
    text.append(shortened(hide_secrets(learnt), 60), style="bold green")
    return text


def _finding(found: Finding, preflight: Preflight) -> RenderableType:
    refused = found.severity == "refusal"
    head = Text.assemble(
        ("refused  " if refused else "warning  ", "bold red" if refused else "bold yellow"), (found.message, "bold")
    )
    places = [_place(sample, preflight) for sample in found.samples]
    rows = Table.grid(padding=(0, 2))
    rows.add_column(justify="right", style="cyan", no_wrap=True, min_width=max(map(len, places), default=0))
    rows.add_column(overflow="ellipsis", no_wrap=not refused)
    for place, sample in zip(places, found.samples, strict=True):
        rows.add_row(place, Text(sample.detail))
    more = found.count - len(found.samples)
    parts: list[RenderableType] = [head]
    if found.samples:
        parts.append(Padding(rows, (0, 0, 0, 2), expand=False))
        if more > 0:
            parts.append(Text(f"  and {more:,} more", style="dim"))
    if found.fix:
        parts.append(Padding(Text.assemble(("fix: ", "green"), found.fix), (0, 0, 0, 2), expand=False))
    return Padding(Group(*parts), (1, 0, 0, 0), expand=False)


def _place(row: Located, preflight: Preflight) -> str:
    files = [file.path for file in preflight.train.files]
    if row.file not in files:
        return f"validation:{row.line}"
    return f"line {row.line}" if len(files) == 1 else f"{row.file}:{row.line}"


def _verdict(preflight: Preflight) -> Text:
    refusals, warnings = len(preflight.refusals), len(preflight.warnings)
    told = f"{warnings} warning{'s' if warnings != 1 else ''}"
    if refusals:
        return Text(f"\nrefused for {refusals} reason{'s' if refusals != 1 else ''}; {told}\n", style="bold red")
    what = "this file" if len(preflight.train.files) == 1 else "these files"
    return Text(f"\ntraining would accept {what}; {told}\n", style="bold green")


def _block(title: str, body: RenderableType) -> RenderableType:
    return Padding(
        Group(Text(title, style="cyan"), Padding(body, (0, 0, 0, 2), expand=False)), (1, 0, 0, 0), expand=False
    )
