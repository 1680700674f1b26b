import json
from pathlib import Path

import pytest

from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.errors import InvalidSuiteError
from evaluation.suites.reader import read

SUMS = "name: sums\nscorers: [exact_match]\ncases: [{prompt: 2 + 2, completion: '4'}]\n"
CASE = {"prompt": "2 + 2", "completion": "4", "tags": ["sums"]}


def written(folder: Path, text: str, cases: str | None = None) -> Path:
    path = folder / "sums.yaml"
    path.write_text(text, encoding="utf-8")
    if cases is not None:
        (folder / "cases.jsonl").write_text(cases, encoding="utf-8")
    return path


def test_cases_stand_in_the_file_or_beside_it(tmp_path: Path) -> None:
    head = "name: sums\nscorers: [exact_match, {name: numeric, params: {tolerance: 0.5}}]\nthresholds: {numeric: 0.9}\n"
    inside = read(written(tmp_path, head + "cases:\n  - {prompt: 2 + 2, completion: '4', tags: [sums]}\n"))
    beside = read(written(tmp_path, head + "cases: cases.jsonl\n", json.dumps(CASE) + "\n\n"))
    assert inside == beside
    assert inside.digest == beside.digest
    assert inside.scorers == (ScorerSpec("exact_match"), ScorerSpec("numeric", {"tolerance": 0.5}))
    assert inside.cases[0].completion == "4"


@pytest.mark.parametrize(
    ("text", "cases", "told"),
    [
        ("name: [", None, r"sums\.yaml cannot be read as YAML: line 1"),
        ("- a", None, r"sums\.yaml holds no suite"),
        ("name: sums\ncases: []", None, r"sums\.yaml: there are no cases"),
        ("name: sums", None, r"sums\.yaml: there are no cases"),
        ("cases: [{prompt: a}]", None, r"sums\.yaml: name"),
        ("name: sums\ncases: [{prompt: a}, {promt: b}]", None, r"sums\.yaml: case 1 promt"),
        ("name: sums\ncases: [{prompt: a, gold: x}]", None, r"sums\.yaml: case 0 gold"),
        ("name: sums\ncases: [{prompt: a}]\nscorer: f1", None, r"sums\.yaml: scorer"),
        ("name: sums\ncases: cases.jsonl", None, "'cases.jsonl' beside it cannot be read"),
        ("name: sums\ncases: cases.jsonl", '{"prompt": "a"}\n{"prompt"', r"cases\.jsonl line 2 cannot be read as JSON"),
        ("name: sums\ncases: ../cases.jsonl", "{}", "must be the plain name of a JSONL file beside it"),
        ("name: sums\ncases: /etc/passwd", None, "must be the plain name of a JSONL file beside it"),
        ("name: sums\ncases: [{prompt: a}]\nscorers: [exact_match]", None, r"sums\.yaml: case 0 has no completion"),
        (SUMS + "thresholds: {exact_mach: 1}", None, r"sums\.yaml: Unknown metric 'exact_mach'"),
        (SUMS + "thresholds: {rouge_l: 1}", None, r"sums\.yaml: thresholds: no scorer of the suite gives rouge_l"),
        (SUMS + "thresholds: {exact_match: .nan}", None, r"sums\.yaml: thresholds: exact_match is nan"),
        (SUMS + "generation: {max_tokens: 0}", None, r"sums\.yaml: generation: max_tokens is 0"),
        (
            "name: &a sums\ndescription: *a\ncases: [{prompt: a}]",
            None,
            r"line 2, column 14: aliases \(\*name\) are not",
        ),
        ("cases: " + "[" * 5000, None, r"sums\.yaml cannot be read as YAML: it is nested too deeply"),
        ('{"cases": ' + "[" * 200_000, None, r"sums\.yaml begins with \{ and cannot be read as JSON: .* too deeply"),
        ('{"name": "sums", "cases": [{"prompt": "\\ud83d"}]}', None, "cannot be read as JSON: text with a lone surrog"),
        ("{name: sums}", None, "begins with { and cannot be read as JSON: invalid JSON: .*line 1, column 2"),
        ("name: sums\ncases: cases.jsonl", '{"prompt": "a", "fields": {"x": NaN}}', "line 1 cannot be .* NaN or inf"),
        ("name: my suite\ncases: [{prompt: a}]", None, "name: 'my suite' is none; write 1 to 64 of the letters"),
        ("name: sums\ncases: [{messages: [{role: robot, content: 5}]}]", None, "case 0: messages: .*role 'robot'"),
        ("name: sums\ncases: [{messages: [{role: user, content: 5}]}]", None, "case 0: messages: message 1: content"),
        ("name: sums\ncases: [{prompt: a}, {prompt: a, fields: {x: .nan}}]", None, "case 1 holds a number that is NaN"),
        (
            'name: sums\ndescription: "\\ud83d"\ncases: [{prompt: a}]',
            None,
            "the suite holds text with a lone surrogate",
        ),
        ("name: !!python/object/apply:os.getcwd []\ncases: [{prompt: a}]", None, "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_with_the_place(
    tmp_path: Path, text: str, cases: str | None, told: str
) -> None:
    with pytest.raises(InvalidSuiteError, match=told):
        read(written(tmp_path, text, cases))


def test_json_is_read_as_json(tmp_path: Path) -> None:
    text = '{\n\t"name": "sums",\n\t"cases": [{"prompt": "\\ud83d\\ude00", "fields": {"tolerance": 1e-05}}]\n}'
    case = read(written(tmp_path, text)).cases[0]
    assert (case.prompt, case.fields) == ("\N{GRINNING FACE}", {"tolerance": 1e-05})


def test_lines_end_at_line_feeds_alone_and_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    odd = {"prompt": "one\u2028two\u0085three", "completion": "4"}
    lines = f"\ufeff{json.dumps(odd, ensure_ascii=False)}\r\n{json.dumps(CASE)}\n"
    suite = read(written(tmp_path, "\ufeffname: sums\ncases: cases.jsonl\n", lines))
    assert [case.prompt for case in suite.cases] == [odd["prompt"], "2 + 2"]
