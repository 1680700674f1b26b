"""Findings about a set as a whole: what repeats, what contradicts, what stands out."""

from collections import Counter
from collections.abc import Sequence

from corpus.classes import ClassStatistics
from corpus.duplicates import Group, conflicting_answers, duplicate_rows, near_duplicates
from corpus.findings import Finding, finding, place
from corpus.language import Languages, guess
from corpus.normalise import answer_key
from corpus.outliers import length_outliers
from corpus.records import Record
from corpus.row_findings import sample
from corpus.split import Leak

IMBALANCE = 3.0
"""Largest class over smallest from which it is worth a word."""
MIN_CLASS_ROWS = 5
REPEATED_SHARE = 0.02
REPEATED_ROWS = 10


def repetition_findings(records: Sequence[Record], classes: ClassStatistics | None) -> list[Finding]:
    """Find rows that say the same, or contradict each other."""
    equal, near = duplicate_rows(records), near_duplicates(records)
    conflicts = [] if classes is None and all(r.kind == "text" for r in records) else conflicting_answers(records)
    pairs = sorted(near, key=lambda pair: -pair.similarity)
    return [
        finding(
            "duplicate_rows",
            "rows that repeat an earlier one: {count}",
            samples=[sample(group.records[1], _repeats(group)) for group in _largest(equal)],
            rows=[record for group in equal for record in group.records[1:]],
            fix="drop them: they are learnt as often as they stand there",
        ),
        finding(
            "conflicting_answers",
            "prompts with different completions: {count}",
            samples=[sample(group.records[0], _conflict(group)) for group in _largest(conflicts)],
            rows=[record for group in conflicts for record in group.records],
            count=len(conflicts),
            fix="keep the right one: the model learns to guess between them",
        ),
        finding(
            "near_duplicates",
            "prompts nearly equal to an earlier one: {count}",
            samples=[
                sample(
                    pair.second,
                    f"{pair.similarity:.0%} like {place(pair.first, pair.second)}: {pair.second.prompt!r}",
                )
                for pair in pairs
            ],
            rows=[pair.second for pair in near],
            fix="keep the best of each; before a split keep them on one side",
        ),
        *([] if classes is not None else [_repeated_answer(records)]),
    ]


def outlier_findings(records: Sequence[Record], spoken: Languages) -> list[Finding]:
    """Find rows in a rare language, and rows of a rare length."""
    main = next(iter(spoken.counts), "")
    by_prompt = length_outliers([len(record.prompt) for record in records])
    by_completion = length_outliers([len(record.completion) for record in records])
    return [
        finding(
            "language",
            f"rows in another language than the rest ({main}): {{count}}",
            samples=[
                sample(records[at], f"{told.language}: {_spoken(records[at], told.language)!r}")
                for at, told in spoken.outliers
            ],
            rows=[records[at] for at, _ in spoken.outliers],
            fix="drop them, unless the model should change languages there",
        ),
        _lengths("prompt_length", "prompts", [(records[at], records[at].prompt) for at in by_prompt]),
        _lengths("completion_length", "completions", [(records[at], records[at].completion) for at in by_completion]),
    ]


def class_findings(records: Sequence[Record], classes: ClassStatistics | None) -> list[Finding]:
    """Judge the classes of a classification-like set."""
    if classes is None or len(classes.counts) < 2:
        return []
    found = []
    names = list(classes.counts)
    first, last = names[0], names[-1]
    if classes.imbalance >= IMBALANCE or classes.counts[last] < MIN_CLASS_ROWS:
        rare = [name for name in reversed(names) if classes.counts[name] * IMBALANCE <= classes.counts[first]]
        by_class: dict[str, Record] = {}
        for record in records:
            by_class.setdefault(record.completion.strip(), record)
        found.append(
            finding(
                "imbalance",
                f"{len(names):,} uneven classes: from {classes.counts[last]} rows ({last}) to "
                f"{classes.counts[first]} ({first}), {classes.imbalance:.1f} to 1",
                samples=[
                    sample(by_class[name], f"{name}: {classes.counts[name]} rows") for name in rare if name in by_class
                ],
                count=len(rare),
                fix=f"add rows to the small ones, or measure each class by itself: always answering {first!r} is right "
                f"in {classes.majority_share:.1%} of rows",
            )
        )
    if classes.is_sorted:
        found.append(
            finding(
                "sorted_by_class",
                f"rows sorted by class: {classes.runs} runs of {len(names)} classes",
                count=classes.runs,
                fix="training shuffles, so nothing is lost; but take samples with `lorad data split --max-rows`, not "
                "from the top of the file",
            )
        )
    return found


def leakage_findings(leaks: Sequence[Leak], validation: Sequence[Record]) -> list[Finding]:
    """Tell which held-out rows the training set gives away."""
    exact = [leak for leak in leaks if leak.exact]
    near = sorted((leak for leak in leaks if not leak.exact), key=lambda leak: -leak.similarity)
    share = f"of {len(validation):,}"
    return [
        finding(
            "leakage",
            f"validation rows that ask what a training row asks: {{count}} {share}; the measured loss is too good",
            samples=[sample(leak.test, f"as training row {leak.train.file}:{leak.train.line}") for leak in exact],
            rows=[leak.test for leak in exact],
            fix="drop them from one side; `lorad data split` keeps equal prompts together",
        ),
        finding(
            "near_leakage",
            f"validation rows that ask nearly what a training row asks: {{count}} {share}",
            samples=[
                sample(
                    leak.test,
                    f"{leak.similarity:.0%} like training row {leak.train.file}:{leak.train.line}: "
                    f"{_text(leak.test)!r}",
                )
                for leak in near
            ],
            rows=[leak.test for leak in near],
            fix="look at them: paraphrases measure memory, not skill",
        ),
    ]


def _lengths(code: str, what: str, found: Sequence[tuple[Record, str]]) -> Finding:
    return finding(
        code,
        f"{what} much longer or shorter than the rest: {{count}}",
        samples=[sample(record, f"{len(text):,} characters: {text!r}") for record, text in found],
        rows=[record for record, _ in found],
        fix="look at them: often two rows in one, a fragment, or a pasted file",
    )


def _repeated_answer(records: Sequence[Record]) -> Finding:
    keys = [answer_key(record) for record in records]
    counts = Counter(keys)
    least = max(REPEATED_ROWS, REPEATED_SHARE * len(records))
    often = [key for key, count in counts.most_common() if count >= least]
    first = dict(zip(reversed(keys), reversed(records), strict=True))
    return finding(
        "repeated_answer",
        "rows that share their completion with many others: {count}",
        samples=[sample(first[key], f"{counts[key]} rows answer {first[key].completion!r}") for key in often],
        rows=[record for key, record in zip(keys, records, strict=True) if counts[key] >= least],
        fix="keep a few of each: a model learns its most frequent answer first",
    )


def _largest(groups: Sequence[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: -len(group.records))


def _repeats(group: Group) -> str:
    first, second, *more = group.records
    times = f", {len(group.records)} times in all" if more else ""
    return f"as {place(first, second)}{times}: {group.text!r}"


def _conflict(group: Group) -> str:
    first = group.records[0]
    other = next(record for record in group.records if answer_key(record) != answer_key(first))
    answers = f"{_cut(first.completion)!r} and, {place(other, first)}, {_cut(other.completion)!r}"
    return f"{_cut(group.text)!r} is answered {answers}"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _text(record: Record) -> str:
    return record.prompt or record.completion


def _spoken(record: Record, language: str) -> str:
    """Return the part of a row that is in `language`: a prompt is often in the file's own."""
    told = guess(record.completion)
    return record.completion if told is not None and told.language == language else _text(record)
