import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from corpus.dataset import load
from corpus.synthetic.writing import Ask, Reply
from service.generation.engine_writer import EngineWriter
from service.generation.journal import journal_path
from tests.service.cli.conftest import Run
from tests.service.generation.conftest import SEEDS, Interrupted, RuleWriter


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    path.write_text(SEEDS)
    return path


@pytest.fixture
def by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny base writes noise: sentences come by a rule in its place."""
    monkeypatch.setattr(EngineWriter, "write", lambda _self, asks: RuleWriter().write(asks))


def command(seeds: Path, output: Path, *more: str) -> tuple[str | Path, ...]:
    recipe = ("--recipe", "self-instruct", "--any-language", "--count", "5")
    return ("data", "generate", "--seeds", seeds, "--output", output, *recipe, *more)


@pytest.mark.usefixtures("by_rule")
def test_new_rows_are_written_and_can_be_trained_on(run: Run, seeds: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.jsonl"
    done = run(*command(seeds, output, "--json"))

    assert done.code == 0
    report = json.loads(done.out)
    assert (report["status"], report["kept"]) == ("completed", 5)
    assert report["attempts"] == 5 + sum(report["dropped"].values())
    records = load(output).records
    assert len(records) == 5
    assert {record.label for record in records} <= {"card_arrival", "cancel_transfer"}
    assert not journal_path(output).exists()
    assert run("data", "check", output).code == 0


def test_the_base_itself_writes_and_is_sifted(run: Run, seeds: Path, tmp_path: Path) -> None:
    done = run(*command(seeds, tmp_path / "new.jsonl", "--max-attempts", "3"))

    assert done.code == 1
    assert "of 5 rows from 3 attempts" in done.out
    assert "dropped:" in done.out


def test_a_broken_run_goes_on(run: Run, seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, whole = tmp_path / "new.jsonl", tmp_path / "whole.jsonl"
    broken = RuleWriter(breaks_after=14)
    monkeypatch.setattr(EngineWriter, "write", lambda _self, asks: broken.write(asks))
    monkeypatch.setattr("sys.argv", ["lorad"])
    with pytest.raises(Interrupted):
        run(*command(seeds, output, "--count", "12"))
    assert not output.exists()
    asked: list[int] = []

    def counted(_self: object, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        asked.extend(ask.seed for ask in asks)
        yield from RuleWriter().write(asks)

    monkeypatch.setattr(EngineWriter, "write", counted)
    other_seed = run(*command(seeds, output, "--count", "12", "--seed", "1"))
    assert (other_seed.code, "of another generation" in other_seed.err) == (1, True)
    done = run(*command(seeds, output, "--count", "12"))
    assert done.code == 0
    assert run(*command(seeds, whole, "--count", "12")).code == 0

    assert _texts(output) == _texts(whole)


def _texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--recipe", "questions"), "seeds.jsonl:1 is a prompt with an answer"),
        (("--recipe", "translate"), "--recipe"),
        (("--model", "operator"), "LORAD_JUDGE_URL"),
        (("--model", "nobody"), "nobody"),
        (("--held-out", "none.jsonl"), "none.jsonl does not exist"),
    ],
)
def test_bad_input_is_refused_with_its_reason(
    run: Run, seeds: Path, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    done = run(*command(seeds, tmp_path / "new.jsonl", *more))

    assert done.code != 0
    assert says in done.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["seeds.jsonl"]


def test_an_output_that_is_there_is_not_replaced(run: Run, seeds: Path) -> None:
    done = run(*command(seeds, seeds))

    assert done.code == 1
    assert "exists and is not replaced" in done.err
    assert seeds.read_text() == SEEDS


def test_a_proposal_is_made_from_a_file_and_its_seeds_are_written(run: Run, seeds: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"text": "Where is my card?", "label": "card_arrival"}\n')
    result = tmp_path / "result.json"
    answer = {"index": 0, "scores": {"accuracy": 0.0}, "details": {"label": "card_arrival", "predicted": "lost"}}
    result.write_text(json.dumps({"results": [{"model": "tiny", "cases": [answer]}]}))
    output = tmp_path / "weak.jsonl"

    done = run("data", "propose", "--run", result, "--cases", cases, "--seeds", seeds, "--output", output, "--json")

    assert done.code == 0
    proposal = json.loads(done.out)
    assert (proposal["failed"], proposal["groups"][0]["name"], proposal["groups"][0]["rows"]) == (
        1,
        "card_arrival",
        100,
    )
    assert [record.line for record in load(seeds).records if record.row == load(output).records[0].row] == [1]
    assert "card_arrival -> (no class)" in run("data", "propose", "--run", result, "--cases", cases).out
    assert "--cases" in run("data", "propose", "--run", result).err
