import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
"""Types a command; gives code, out and err."""


@pytest.mark.parametrize("arguments", [["--help"], ["adapters", "list"], ["adapters", "--help"], ["base", "list"]])
def test_light_commands_leave_what_is_heavy_unloaded(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom service.cli.main import main\n"
        f"sys.argv = ['lorad', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "sys.exit(3 if {'torch', 'nltk', 'pandas'} & set(sys.modules) else 0)\n"
    )
    environment = {**os.environ, "LORAD_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "None")],
)
def test_threads_soon_sleep_unless_the_operator_says_how_they_wait(given: dict[str, str], spins: str) -> None:
    code = (
        "import os, sys\nfrom service.cli.main import main\nsys.argv = ['lorad', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == spins


def test_importing_the_training_configuration_leaves_torch_unloaded() -> None:
    code = "import sys, training.config, service.training.spec; sys.exit(3 if 'torch' in sys.modules else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_usage_error_ends_with_2(run: Run) -> None:
    assert run("train", "--no-such-flag").code == 2
    assert run("nothing").code == 2


def test_a_malformed_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAD_MAX_LORAS", "many")
    outcome = run("adapters", "list")
    assert outcome.code == 1
    assert "LORAD_MAX_LORAS" in outcome.err
    assert "'many'" in outcome.err


def test_base_list_says_what_is_on_disk(run: Run, home: Path) -> None:
    (home / "bases" / "smollm2-135m-instruct").mkdir(parents=True)
    found = {row["name"]: row["folder"] for row in json.loads(run("base", "list", "--json").out)}
    assert found == {
        "smollm2-135m-instruct": str(home / "bases" / "smollm2-135m-instruct"),
        "gemma-3-270m": None,
    }


def test_an_unknown_catalogue_base_is_refused(run: Run) -> None:
    outcome = run("base", "fetch", "smollm")
    assert outcome.code == 1
    assert "smollm2-135m-instruct" in outcome.err


def test_a_missing_base_that_needs_consent_is_not_fetched(run: Run, rows: Path) -> None:
    outcome = run("data", "check", rows, "--base-model", "gemma-3-270m")
    assert outcome.code == 1
    assert "lorad base fetch gemma-3-270m" in outcome.err
