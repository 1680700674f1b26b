"""The answers state facts about this code, so they are compared with it: a renamed flag or a new default fails here."""

import json
import re
import shlex
import string
import subprocess
import sys
import threading
import tomllib
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from starlette.testclient import TestClient
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from adapters import errors as adapter_errors
from adapters.files import ADAPTER_FILES, MANIFEST, PICKLED_WEIGHTS
from adapters.manifest import Manifest
from adapters.reference import NAME, Reference
from adapters.registry import Registry
from base.catalogue import CATALOGUE, DEFAULT_BASE
from base.loader import resolve_dtype
from corpus.dataset import load
from corpus.readers import SUFFIXES
from corpus.split import leakage
from service.api.app import create_app
from service.api.auth.keys import Keys
from service.api.errors.mapping import problem_of
from service.api.process.server import listen
from service.cli.console import FAILED, INTERRUPTED, STOPPED_RESUMABLE
from service.cli.main import app
from service.engine.errors import QueueFullError
from service.errors import SettingsError
from service.evaluation.encoding import DEFAULT_METRICS
from service.inference.inference import Inference
from service.settings import DEFAULT_MODEL, Settings
from training.artifacts.checkpoint import Checkpoints, Progress
from training.config import TrainingConfig

FOLDER = Path(__file__).parents[2] / "examples" / "lorad_questions"
SIDES = ("train", "test")
USAGE = 2
LORAD = get_command(app)


@dataclass(frozen=True, kw_only=True)
class Fact:
    name: str
    answer: str
    questions: list[str]


FACTS = [Fact(**entry) for entry in tomllib.loads((FOLDER / "facts.toml").read_text(encoding="utf-8"))["fact"]]
ANSWERS = {fact.name: fact.answer for fact in FACTS}


def setting(field: str) -> Any:
    return Settings.model_fields[field].default


def training(field: str) -> Any:
    return TrainingConfig.model_fields[field].default


def listed(words: tuple[str, ...], last: str = "and") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


BEGINNINGS = {
    "default-base": f"{DEFAULT_MODEL},",
    "port": f"{setting('port')};",
    "host": f"{setting('host')},",
    "quantization": listed(get_args(Settings.model_fields["quantization"].annotation), "or"),
    "max-loras": f"{setting('max_loras')} adapters",
    "max-lora-rank": f"{setting('max_lora_rank')};",
    "max-waiting": f"{setting('max_waiting')} by default",
    "shutdown-timeout": f"{setting('shutdown_timeout'):g} seconds",
    "epochs": f"{training('epochs'):g} epochs",
    "rank": f"{training('rank')};",
    "learning-rate": f"{training('learning_rate'):g} at its peak",
    "batch-size": f"{training('batch_size')} rows",
    "max-length": f"{training('max_length')} tokens",
    "target-modules": f"{training('target_modules')}:",
    "checkpoint-folder": "In checkpoints/step-N ",
    "exit-stopped": f"{STOPPED_RESUMABLE}:",
    "exit-interrupted": f"{INTERRUPTED}:",
    "exit-usage": f"{USAGE}:",
    "exit-failed": f"{FAILED}:",
    "formats": "JSONL, NDJSON, JSON, CSV, TSV and Parquet;",
    "name-rule": "1 to 64 of a-z, 0-9, '.', '_' and '-';",
    "adapter-files": f"{listed(ADAPTER_FILES)}.",
    "manifest": f"{MANIFEST} is the manifest",
    "pickle": f"{PICKLED_WEIGHTS} is a pickle",
    "base-mismatch": f"{adapter_errors.BaseMismatchError.__name__}:",
    "evaluation-metrics": f"{listed(DEFAULT_METRICS)}.",
}
"""How answers must begin by what the code says."""

MENTIONS = {
    "default-base": CATALOGUE[DEFAULT_MODEL].licence,
    "home": f"by default {setting('home')};",
    "database": "a SQLite file, lorad.db in LORAD_HOME",
    "dtype": "float32 on the CPU and bfloat16 on CUDA",
    "quantization": f"{setting('quantization')} is the default",
}
"""What answers must say somewhere."""

TRAINING_FLAGS = (
    "epochs",
    "rank",
    "learning-rate",
    "batch-size",
    "max-length",
    "target-modules",
    "validation",
    "max-rows",
)
"""Facts whose flags belong to `lorad train`, though the answer does not name the command."""

PROSE = {"newest-reference", "base-digest", "alias-in-use", "int8-rows", "nf4-trap"}
"""Facts about behaviour that name nothing to look up; the tests of their packages hold the behaviour."""

ROUTES = {
    ("POST", "/generate"),
    ("POST", "/evaluate"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("POST", "/v1/adapters"),
    ("GET", "/live"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
}


def rows(side: str) -> list[dict[str, str]]:
    lines = (FOLDER / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def normalised(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())


def variables(text: str) -> set[str]:
    return {name.lower() for name in re.findall(r"\bLORAD_([A-Z_]+)\b", text)}


def flags(text: str) -> set[str]:
    return set(re.findall(r"(?<!\S)--[a-z][a-z-]*", text))


def routes(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"\b(GET|POST|PUT|DELETE) (/[\w/{}]*)", text))


def invocation(answer: str) -> list[str]:
    """The arguments after `Run lorad`, up to the end of the clause."""
    found = re.match(r"Run lorad (.+?)(?:[,;.]?$|[,;] | for )", answer)
    return shlex.split(found[1]) if found else []


def command_of(words: list[str]) -> tuple[TyperCommand, list[str]]:
    command: Any = LORAD
    rest = list(words)
    while isinstance(command, TyperGroup):
        command = command.commands[rest.pop(0)]
    assert isinstance(command, TyperCommand)
    return command, rest


def commands(group: TyperGroup, path: str = "lorad") -> dict[str, set[str]]:
    """The flags of every command, by its whole name."""
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        if isinstance(command, TyperGroup):
            found |= commands(command, whole)
        else:
            found[whole] = {option for parameter in command.params for option in parameter.opts}
    return found


def flags_by_command() -> dict[str, set[str]]:
    assert isinstance(LORAD, TyperGroup)
    return commands(LORAD)


# The data -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", SIDES)
def test_running_the_script_again_reproduces_the_file_byte_for_byte(tmp_path: Path, side: str) -> None:
    command = [sys.executable, "-B", str(FOLDER / "make.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / f"{side}.jsonl").read_bytes() == (FOLDER / f"{side}.jsonl").read_bytes()


def test_there_are_enough_facts_and_rows() -> None:
    assert len(FACTS) >= 64
    assert sum(len(rows(side)) for side in SIDES) >= 320


def test_rows_have_exactly_the_two_columns_filled() -> None:
    both = [row for side in SIDES for row in rows(side)]
    assert all(list(row) == ["question", "answer"] and all(row.values()) for row in both)


def test_no_question_occurs_twice() -> None:
    questions = [normalised(row["question"]) for side in SIDES for row in rows(side)]
    assert len(set(questions)) == len(questions)


def test_no_test_question_equals_or_nearly_equals_one_of_training() -> None:
    train, test = (load(FOLDER / f"{side}.jsonl") for side in SIDES)
    assert leakage(train.records, test.records) == ()


def test_every_fact_is_trained_in_at_least_four_wordings_and_tested_in_another() -> None:
    trained, tested = (Counter(row["answer"] for row in rows(side)) for side in SIDES)
    assert set(trained) == set(tested) == set(ANSWERS.values())
    assert min(trained.values()) >= 4
    assert min(tested.values()) >= 1


def test_rows_are_short() -> None:
    assert max(len(fact.answer.split()) for fact in FACTS) <= 20
    assert max(len(question.split()) for fact in FACTS for question in fact.questions) <= 20


@pytest.mark.parametrize("side", SIDES)
def test_the_data_card_states_the_number_of_rows(side: str) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"`{side}.jsonl` ({len(rows(side))} rows)" in card


# The facts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_every_variable_named_is_a_setting(fact: Fact) -> None:
    named = {name for text in (fact.answer, *fact.questions) for name in variables(text)}
    assert named <= set(Settings.model_fields)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_every_flag_named_exists_on_the_command_that_it_is_for(fact: Fact) -> None:
    of_command = flags_by_command()
    named = {name for name in of_command if re.search(rf"\b{name}\b", fact.answer)}
    if fact.name in TRAINING_FLAGS:
        named.add("lorad train")
    known = set().union(*(of_command[name] for name in named or of_command))
    assert flags(fact.answer) <= known
    assert {flag for question in fact.questions for flag in flags(question)} <= set().union(*of_command.values())


@pytest.mark.parametrize("fact", [fact for fact in FACTS if variables(fact.answer)], ids=lambda fact: fact.name)
def test_a_flag_named_beside_a_variable_sets_the_same(fact: Fact) -> None:
    meant = {flag.removeprefix("--").replace("-", "_") for flag in flags(fact.answer)}
    assert meant <= variables(fact.answer)


@pytest.mark.parametrize("fact", [fact for fact in FACTS if invocation(fact.answer)], ids=lambda fact: fact.name)
def test_every_command_line_is_accepted_as_written(fact: Fact) -> None:
    command, arguments = command_of(invocation(fact.answer))
    # Parses and does not run; it raises what a person would be shown.
    command.make_context(command.name, arguments)


def test_every_answer_that_says_to_run_something_is_parsed() -> None:
    unread = {fact.name for fact in FACTS if fact.answer.startswith("Run ") and not invocation(fact.answer)}
    # "Run the same lorad train again with --resume" is no command line.
    assert unread == {"resume"}


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_every_route_named_is_one_of_the_service(fact: Fact) -> None:
    assert routes(fact.answer) <= ROUTES


def test_the_service_has_the_routes(tmp_path: Path) -> None:
    served = create_app(Settings(home=tmp_path))
    paths = served.openapi()["paths"]
    # The documentation is FastAPI's own page and stands in no schema.
    assert served.docs_url == "/docs"
    assert {(method, path) for method, path in ROUTES if method.lower() not in paths.get(path, {})} == {
        ("GET", "/docs")
    }


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("route-generate", "application/json"),
        ("route-evaluate", "application/json"),
        ("route-upload", "multipart/form-data"),
    ],
)
def test_a_route_takes_the_fields_that_are_told(tmp_path: Path, name: str, content_type: str) -> None:
    document = create_app(Settings(home=tmp_path)).openapi()
    method, path = next(iter(routes(ANSWERS[name])))
    schema = document["paths"][path][method.lower()]["requestBody"]["content"][content_type]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    told = re.match(r"\w+ \S+ with ([a-z, ]+)", ANSWERS[name])
    assert told
    assert set(re.findall(r"[a-z]+", told[1])) - {"and", "a"} <= set(schema["properties"])


@pytest.mark.parametrize(("name", "beginning"), BEGINNINGS.items())
def test_an_answer_begins_with_what_the_code_says(name: str, beginning: str) -> None:
    assert ANSWERS[name].startswith(beginning)


@pytest.mark.parametrize(("name", "mention"), MENTIONS.items())
def test_an_answer_says_what_the_code_says(name: str, mention: str) -> None:
    assert mention in ANSWERS[name]


def test_every_fact_is_checked_in_some_way_or_declared_prose() -> None:
    named = {fact.name for fact in FACTS if variables(fact.answer) | flags(fact.answer) | routes(fact.answer)}
    run = {fact.name for fact in FACTS if invocation(fact.answer)}
    parsed_below = {"pinned-reference"}
    assert set(ANSWERS) - named - run - set(BEGINNINGS) - set(MENTIONS) - parsed_below == PROSE


def test_errors_named_are_errors_of_adapters() -> None:
    texts = [text for fact in FACTS for text in (fact.answer, *fact.questions)]
    named = {name for text in texts for name in re.findall(r"\b[A-Z][A-Za-z]+Error\b", text)}
    assert named
    assert all(issubclass(getattr(adapter_errors, name), adapter_errors.AdapterError) for name in named)


# What the tables above take for granted -----------------------------------------------------------------------------
def test_the_default_base_is_the_catalogue_s() -> None:
    assert setting("base_model") == DEFAULT_BASE == DEFAULT_MODEL
    title = CATALOGUE[DEFAULT_BASE].title.partition(" (")[0]
    assert f"which is {title} under" in ANSWERS["default-base"]


def test_the_registry_is_a_sqlite_file_in_home() -> None:
    url = Settings.model_construct(home=Path("/home-of-lorad"), database_url=None).registry_url
    assert url == "sqlite:////home-of-lorad/lorad.db"


def test_dtype_auto_depends_on_the_device() -> None:
    assert setting("dtype") == "auto"
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16


def test_the_formats_are_the_ones_read() -> None:
    told = re.findall(r"[A-Za-z]+", ANSWERS["formats"].partition(";")[0])
    assert {f".{word.lower()}" for word in told if word != "and"} == set(SUFFIXES)


def test_names_have_the_length_and_characters_told() -> None:
    allowed = {char for char in string.printable if NAME.fullmatch(f"a{char}")}
    assert allowed == set(string.ascii_lowercase + string.digits + "._-")
    assert {char for char in allowed if NAME.fullmatch(char)} == set(string.ascii_lowercase + string.digits)
    assert [length for length in range(70) if NAME.fullmatch("a" * length)] == list(range(1, 65))


def test_the_pinned_reference_told_is_one() -> None:
    assert "support:3" in ANSWERS["pinned-reference"]
    assert Reference.parse("support:3") == Reference(name="support", number=3)


def test_the_manifest_holds_what_is_told() -> None:
    assert {"base", "rendering", "training", "metrics"} <= set(Manifest.model_fields)


def test_checkpoints_lie_in_folders_of_their_step(tmp_path: Path) -> None:
    progress = Progress(step=12, trained_tokens=0, seconds=0.0, base_valid_loss=None, train_loss=0.0)
    folder = Checkpoints(tmp_path / "out", "run", keep=1).save(lambda _folder: None, {"m": torch.zeros(1)}, progress)
    assert folder == tmp_path / "out" / "step-12"


def test_the_split_holds_out_the_share_told() -> None:
    command, _ = command_of(["data", "split"])
    share = next(parameter.default for parameter in command.params if parameter.name == "test_fraction")
    assert f"a share of {share} is held out" in ANSWERS["data-split"]


def test_wrong_usage_ends_with_the_status_told() -> None:
    assert CliRunner().invoke(app, ["serve", "--no-such-flag"]).exit_code == USAGE


def test_a_full_queue_is_answered_with_the_status_told() -> None:
    assert f"status {problem_of(QueueFullError(1, 1)).status}" in ANSWERS["max-waiting"]


def test_keys_are_written_as_told() -> None:
    principal = Keys.parse("acme=one,other=two").principal("two")
    assert principal
    assert principal.tenant == "other"


def test_without_keys_only_loopback_is_served(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LORAD_API_KEYS"):
        listen(Settings(home=tmp_path, host="0.0.0.0", api_keys=""))


def test_live_answers_while_the_model_is_loading_and_health_does_not(tmp_path: Path) -> None:
    ended = threading.Event()

    def load_slowly(_registry: Registry, _settings: Settings) -> Inference:
        ended.wait()
        raise SettingsError("the test is over")

    with TestClient(create_app(Settings(home=tmp_path), open_inference=load_slowly)) as client:
        try:
            assert client.get("/live").status_code == 200
            assert client.get("/health").status_code == 503
        finally:
            ended.set()
