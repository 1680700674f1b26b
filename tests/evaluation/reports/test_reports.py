import json
import math
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from evaluation.errors import ReportError
from evaluation.reports.blocks import Plot, Report
from evaluation.reports.content import Compared, Provenance, build_report
from evaluation.reports.failures import Question
from evaluation.reports.files import to_json, write_report
from evaluation.reports.folder import PLOTS
from evaluation.reports.html import to_html
from evaluation.reports.markdown import to_markdown
from evaluation.reports.terminal import render
from evaluation.results import CaseResult, Confusion, ModelResult
from evaluation.statistics.comparison import compare_results

HOSTILE = "<script>alert(1)</script> | [x](javascript:y) ```\n[red]bold[/red]"


def result(model: str, right: list[int], **fields: object) -> ModelResult:
    cases = tuple(
        CaseResult(
            index=at, text=HOSTILE if at == 0 else f"answer {at}", loss=1.0 + at, labelled_tokens=2,
            scores={"exact_match": float(value)}, findings=("empty",) if at == 1 else (),
            details={"choice": 0, "gold": 0 if value else 1, "choice_logprobs": [-1.0, -1.0 - at]},
        )
        for at, value in enumerate(right)
    )  # fmt: skip
    metrics = {"exact_match": sum(right) / len(right), "loss": math.fsum(c.loss or 0 for c in cases) / len(cases)}
    values = {"metrics": metrics, "cases": cases, "prompt_tokens": 9, "completion_tokens": 9, "labelled_tokens": 9}
    return ModelResult(**{"model": model, "tokens_per_second": 12.0, **values, **fields})  # type: ignore[arg-type]


@pytest.fixture
def report() -> Report:
    table = Confusion(labels=("a", "b"), predicted=("a", "b", "(no label)"), counts=((3, 1, 0), (0, 2, 4)))
    tags = {"easy": {"exact_match": 0.75}, "hard": {"exact_match": 0.25}}
    before = result("base", [0, 1, 0, 0, 1, 0, 0, 0], tags=tags)
    after = result("support:2", [1, 1, 1, 0, 1, 1, 1, 1], tags=tags, confusion=table)
    return build_report(
        Provenance(title="support on tickets", facts=(("suite", "tickets sha256:12"), ("status", "completed"))),
        [before, after],
        {at: Question(prompt=f"question {at}", expected=HOSTILE, tags=("easy",)) for at in range(8)},
        [Compared(before="base", after="support:2", differences=compare_results(before, after))],
        {"points": [{"train_rows": 100, "valid_loss": 2.0}, {"train_rows": 400, "valid_loss": 1.5}]},
    )


def shown(report: Report) -> str:
    out = StringIO()
    Console(file=out, width=200).print(render(report))
    return out.getvalue()


def test_every_form_has_the_same_sections_and_numbers(report: Report) -> None:
    titles = [section.title for section in report.sections]
    assert titles == [
        "Run", "Scores", "Compared", "By tag", "Labels", "Calibration", "Loss", "Data size", "What goes wrong",
        "Worst cases",
    ]  # fmt: skip
    page, text, screen = to_html(report), to_markdown(report), shown(report)
    for title in titles:
        assert f"<h2>{title}</h2>" in page
        assert f"## {title}\n" in text
    for number in ("0.2500", "0.8750", "+0.6250"):
        assert number in page
        assert number in text
        assert number in screen
    data = json.loads(to_json(report))
    assert [each["metrics"]["exact_match"] for each in data["results"]] == [0.25, 0.875]
    assert data["comparisons"][0]["differences"][0]["delta"] == 0.625


def test_texts_of_models_stay_texts(report: Report) -> None:
    page, text, screen = to_html(report), to_markdown(report), shown(report)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    # Inside a longer fence three backticks end nothing.
    assert f"````text\n{HOSTILE}" in text
    assert "[red]bold[/red]" in screen


def test_the_page_asks_for_nothing_from_outside(report: Report) -> None:
    page = to_html(report)
    assert "default-src 'none'" in page
    assert re.search(r'src="http|@import|<link|url\((?!#)', page) is None


def test_every_plot_is_a_picture_with_words(report: Report) -> None:
    plots = [block for section in report.sections for block in section.blocks if isinstance(block, Plot)]
    assert tuple(plot.name for plot in plots) == PLOTS
    for plot in plots:
        assert plot.alt
        assert plot.png.startswith(b"\x89PNG")
        assert ElementTree.fromstring(plot.svg).tag.endswith("svg")


def test_a_value_that_is_no_number_is_a_dash_and_null() -> None:
    lost = result("base", [0, 1], metrics={"exact_match": 0.5, "loss": math.nan, "perplexity": math.inf})
    made = build_report(Provenance(title="t", facts=()), [lost], {})
    assert json.loads(to_json(made))["results"][0]["metrics"] == {"exact_match": 0.5, "loss": None, "perplexity": None}
    assert "| base |" in to_markdown(made)
    assert "nan" not in to_markdown(made)


def test_losses_too_large_for_a_perplexity_or_a_plot_are_told_all_the_same() -> None:
    made = result("base", [0, 1, 0])
    losses = (800.0, 900.0, math.inf)
    cases = tuple(replace(case, loss=loss) for case, loss in zip(made.cases, losses, strict=True))
    lost = replace(made, cases=cases, metrics={"loss": math.inf, "perplexity": math.inf})
    assert "| base |" in to_markdown(build_report(Provenance(title="t", facts=()), [lost], {}))


def test_a_partial_run_says_so_first() -> None:
    cases = (CaseResult(index=0, text="a", error="the judge 'j' cannot be asked"),)
    lost = result("base", [1], cases=cases, metrics={"judge": math.nan})
    made = build_report(Provenance(title="t", facts=(), note="1 answer has no score"), [lost], {})
    assert to_markdown(made).index("1 answer has no score") < to_markdown(made).index("## Scores")
    assert "the first is case 0 of base: the judge 'j' cannot be asked" in shown(made)


def test_a_folder_is_written_whole_and_not_over_others(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(report, folder)
    names = {path.name for path in folder.iterdir()}
    assert names >= {"report.md", "report.html", "report.json", "scores.png", "confusion.png"}
    with pytest.raises(ReportError, match=r"holds .* files, calibration.png for one; name a new"):
        write_report(report, folder)
    write_report(report, folder, overwrite=True)
    assert {path.name for path in folder.iterdir()} == names

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(ReportError, match=r"holds 1 files, thesis\.tex for one"):
        write_report(report, other, overwrite=True)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_files_beside_an_earlier_report_are_not_lost(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(report, folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ReportError, match=r"holds 1 files, notes\.txt for one"):
        write_report(report, folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_report_that_fails_half_way_leaves_the_earlier_one(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(report, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = replace(report, data={"no JSON": object()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_report(broken, folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_names_are_no_mathematics_and_escape_sequences_reach_no_terminal() -> None:
    model = "a$\\frac$b"
    cases = (CaseResult(index=0, text="\x1b]0;owned\x07\x1b[2J", scores={"exact_match": 0.0}),)
    tags = {"$\\x$ & <b>": {"exact_match": 0.0}}
    made = build_report(
        Provenance(title="t", facts=()), [result(model, [0], cases=cases, metrics={"exact_match": 0.0}, tags=tags)], {}
    )
    assert "\x1b" not in shown(made)
    assert "owned" in shown(made)
    assert "a$\\frac$b</text>" in to_html(made)
    assert "\\& \\<b\\>" in to_markdown(made)


def test_markdown_without_files_has_the_words_of_plots(report: Report) -> None:
    alone = to_markdown(report, pictures=False)
    assert ".png" not in alone
    assert "expected calibration error: base 0.697" in alone


def test_intervals_and_calibration_are_data_too(report: Report) -> None:
    data = json.loads(to_json(report))
    low, high = data["intervals"]["support:2"]["exact_match"]
    assert f"0.8750 [{low:.4f}, {high:.4f}]" in to_html(report)
    assert f"| base | {data['calibration']['base']['error']:.4f} | 8 |" in to_markdown(report)


def test_the_same_results_give_the_same_bytes(tmp_path: Path, report: Report) -> None:
    assert to_html(report) == to_html(report)
    write_report(report, tmp_path / "a")
    write_report(report, tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
