"""`lorad gates` in this process, and on a running server."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from evaluation.runs.run import NewRun
from evaluation.runs.runs import Runs
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings
from evaluation.suites.store import Suites
from evaluation.suites.suite import Suite, SuiteCase
from service.registry.opening import open_registry
from service.settings import Settings
from tests.service.cli.conftest import Run

TEXT = "promote to prod if exact_match >= prod and no suite drops > 1 point"
HARSH = "promote to prod if exact_match > prod"
SHOWN = TEXT.replace("prod if", "prod on greetings if")


@pytest.fixture
def local(run: Run, home: Path, make_adapter: Callable[..., Path], tmp_path: Path) -> Path:
    """A home with adapter `support` in two versions, and a suite that no random model gets right."""
    for seed in range(2):
        folder = make_adapter(tmp_path / f"a{seed}", seed=seed)
        assert run("adapters", "import", folder, "--name", "support").code == 0
    registry = open_registry(Settings())
    suite = Suite(
        name="greetings",
        scorers=(ScorerSpec("exact_match"),),
        cases=tuple(SuiteCase(prompt=f"say hello {n}", completion=f"hello there {n}") for n in range(3)),
        generation=GenerationSettings(max_tokens=3),
    )
    Suites(registry.database).add("default", suite)
    registry.database.dispose()
    return home


@pytest.fixture(params=["local", "remote"])
def place(local: Path, request: pytest.FixtureRequest) -> Path:
    return local if request.param == "local" else request.getfixturevalue("remote")


@pytest.mark.usefixtures("place")
def test_a_gate_is_set_run_and_told(run: Run, tmp_path: Path) -> None:
    made = run("gates", "set", "support", "prod", "--policy", TEXT, "--suite", "greetings")
    assert made.code == 0, made.err
    assert SHOWN in made.out
    assert SHOWN in run("gates", "list", "support").out
    assert json.loads(run("gates", "show", "support", "prod", "--json").out)["policy"] == SHOWN

    promoted = run("gates", "run", "support:1", "prod")
    assert promoted.code == 0, promoted.err
    assert "support@prod  nothing -> support:1" in promoted.out
    assert "holds  exact_match >= prod: exact_match 0 on greetings, tiny has 0" in promoted.out

    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "suites: [greetings]\nconditions:\n  - {kind: metric, metric: exact_match, comparison: '>', to: prod}\n"
    )
    assert run("gates", "set", "support", "prod", "--file", policy).code == 0
    refused = run("gates", "run", "support", "prod")
    assert refused.code == 1
    assert "support@prod  stays at support:1; support:2 was the candidate" in refused.out
    assert "FAILS  exact_match > prod: exact_match 0 on greetings, support:1 has 0" in refused.out

    [last, first] = json.loads(run("gates", "checks", "support", "prod", "--json").out)
    assert (first["status"], last["status"], last["candidate"]) == ("promoted", "refused", "support:2")
    assert "refused: 'exact_match > prod' does not hold" in run("adapters", "history", "support").out
    assert run("gates", "delete", "support", "prod").code == 0
    gone = run("gates", "show", "support", "prod")
    assert gone.code == 1
    assert "support@prod has no gate" in gone.err


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (("--policy", HARSH), 1, "names no suite to run"),
        (("--policy", HARSH, "--suite", "nobody"), 1, "there is no suite 'nobody'"),
        (("--policy", "promote to prod when better", "--suite", "greetings"), 1, "'if' was expected"),
        (("--suite", "greetings"), 2, "either --policy or --file"),
        (("--file", "missing.yaml"), 1, "missing.yaml cannot be read"),
    ],
)
def test_what_cannot_be_a_gate_is_refused(run: Run, given: tuple[str, ...], code: int, said: str) -> None:
    refused = run("gates", "set", "support", "prod", *given)
    assert refused.code == code
    assert said in " ".join(refused.err.split())


@pytest.mark.usefixtures("local")
def test_a_candidate_that_does_not_exist_is_refused(run: Run) -> None:
    run("gates", "set", "support", "prod", "--policy", HARSH, "--suite", "greetings")
    assert run("gates", "run", "support:9", "prod").code == 1
    assert run("gates", "run", "support:1", "canary").code == 1


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("reference", "said"),
    [("support@prof", "has no alias 'prof'"), ("support:ckpt-step-2", "a gate takes versions only")],
)
def test_what_means_no_version_is_refused_and_nothing_else_taken(run: Run, reference: str, said: str) -> None:
    run("gates", "set", "support", "prod", "--policy", HARSH, "--suite", "greetings")
    refused = run("gates", "run", reference, "prod")
    assert (refused.code, said in refused.err) == (1, True), refused.err
    assert json.loads(run("gates", "checks", "support", "prod", "--json").out) == []


@pytest.mark.usefixtures("local")
def test_a_gate_here_leaves_the_evaluations_of_others_alone(run: Run) -> None:
    run("gates", "set", "support", "prod", "--policy", TEXT, "--suite", "greetings")
    assert run("gates", "run", "support:1", "prod").code == 0
    registry = open_registry(Settings())
    runs, suites = Runs(registry.database), Suites(registry.database)
    [done] = runs.list("default")
    suite = suites.get("default", "greetings").suite
    other = runs.create("other", NewRun(**{f.name: getattr(done, f.name) for f in fields(NewRun)}), suite)
    assert run("gates", "run", "support:2", "prod").code in (0, 1)
    assert runs.get("other", other.id).status == "queued"
    assert [each.status for each in runs.list("default")] == ["completed", "completed"]
    registry.database.dispose()
