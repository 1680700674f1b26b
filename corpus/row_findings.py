"""Findings about single rows: what stands in their texts."""

from collections.abc import Callable, Iterable, Sequence

from corpus.characters import odd_characters
from corpus.findings import Finding, Sample, finding, shortened
from corpus.messages import content_text
from corpus.records import Record
from corpus.secrets import find_emails, find_secrets, hide_secrets


def row_findings(records: Sequence[Record]) -> list[Finding]:
    """Look into the texts of `records`."""
    return [
        _empty_prompts(records),
        _edge_whitespace(records),
        _from_texts(
            "control_characters",
            "rows with control, invisible or wrongly decoded characters: {count}",
            records,
            odd_characters,
            "decode the source as UTF-8 and strip what cannot be seen; the model learns to write it",
        ),
        _from_texts(
            "secrets",
            "rows with what looks like a secret: {count}",
            records,
            lambda text: (f"{secret.kind} {secret.masked}" for secret in find_secrets(text)),
            "replace them and revoke the real ones: an adapter repeats what it learnt to whoever asks",
        ),
        _from_texts(
            "email_addresses",
            "rows with e-mail addresses: {count}",
            records,
            lambda text: (address.masked for address in find_emails(text)),
            "replace those of persons, by name@example.com for one",
        ),
    ]


def sample(record: Record, detail: str) -> Sample:
    """Make a sample of a record; secrets in `detail` are masked."""
    return Sample(file=record.file, line=record.line, detail=shortened(hide_secrets(detail)))


def whole_text(record: Record) -> str:
    """Return everything written in a row: its messages one after the other, or its text."""
    if record.kind == "text":
        return record.text
    spoken = record.messages if record.rejected is None else (*record.messages, record.rejected)
    return "\n".join(content_text(message) for message in spoken)


def _empty_prompts(records: Sequence[Record]) -> Finding:
    empty = [record for record in records if record.kind == "chat" and not record.prompt.strip()]
    return finding(
        "empty_prompt",
        "rows with an empty prompt: {count}",
        samples=[sample(record, f"answered by {record.completion!r}") for record in empty],
        rows=empty,
        fix="the model learns to say this to anything; write the question or drop the row",
    )


def _edge_whitespace(records: Sequence[Record]) -> Finding:
    edged = [record for record in records if record.kind == "chat" and record.completion != record.completion.strip()]
    return finding(
        "edge_whitespace",
        "completions that begin or end with white space: {count}",
        samples=[sample(record, _edges(record.completion)) for record in edged],
        rows=edged,
        fix="strip it unless it is meant: the model learns to write it",
    )


def _edges(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:25]!r} … {text[-25:]!r}"


def _from_texts(
    code: str, message: str, records: Sequence[Record], find: Callable[[str], Iterable[str]], fix: str
) -> Finding:
    found = [(record, list(find(whole_text(record)))) for record in records]
    hits = sorted(((record, details) for record, details in found if details), key=lambda hit: -len(hit[1]))
    samples = [sample(record, ", ".join(dict.fromkeys(details))) for record, details in hits]
    return finding(code, message, samples=samples, rows=[record for record, _ in hits], fix=fix)
