import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.scorers.catalogue import create
from evaluation.scorers.scorer import Scorer
from evaluation.suites.reader import read
from evaluation.suites.suite import Suite
from tests.evaluation.scorers.answers import make_answer, make_case

FOLDER = Path(__file__).parents[2] / "examples" / "suites"
NAMES = ("ticket_routing", "text_to_sql")


@pytest.fixture(scope="module", params=NAMES)
def suite(request: pytest.FixtureRequest) -> Suite:
    return read(FOLDER / f"{request.param}.yaml")


def scores(suite: Suite, scorers: list[Scorer], answers: list[str]) -> list[float | None]:
    found: list[float | None] = []
    for index, (given, text) in enumerate(zip(suite.cases, answers, strict=True)):
        case = make_case(given.completion or "", index)
        for scorer in scorers:
            scorer.check(case)
            found += scorer.score(make_answer(text, case)).values.values()
    return found


def test_the_files_are_what_make_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(FOLDER / "make.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == sorted(f"{name}.{kind}" for name in NAMES for kind in ("yaml", "jsonl"))
    assert all(path.read_bytes() == (FOLDER / path.name).read_bytes() for path in made)


def test_every_case_can_be_measured_and_the_expected_answers_are_right(suite: Suite) -> None:
    scorers = [create(spec) for spec in suite.scorers]
    assert set(scores(suite, scorers, [case.completion or "" for case in suite.cases])) == {1.0}
    assert set(suite.thresholds) <= {metric for scorer in scorers for metric in scorer.metrics}


def test_the_answers_of_other_cases_are_mostly_wrong(suite: Suite) -> None:
    first = create(suite.scorers[0])
    answers = [case.completion or "" for case in suite.cases]
    found = scores(suite, [first], answers[1:] + answers[:1])
    assert sum(value or 0.0 for value in found) < 0.2 * len(found)


def test_every_case_has_tags(suite: Suite) -> None:
    assert all(case.tags for case in suite.cases)
