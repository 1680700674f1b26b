from pathlib import Path

from corpus.columns import ColumnMapping
from evaluation.suites.suite import Suite
from service.cli.case_sources import CaseSource, read_cases
from service.settings import Settings


def test_the_same_rows_are_the_same_cases_whatever_their_file_is_called(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text('{"prompt": "2 + 2", "completion": "4"}\n', encoding="utf-8")
        source = CaseSource(data=path, suite=None, columns=ColumnMapping(), skip_bad=False, max_rows=None, seed=0)
        cases = read_cases(source, Settings(home=tmp_path))
        assert isinstance(cases, Suite)
        found.append(cases.digest)
    assert found[0] == found[1]
