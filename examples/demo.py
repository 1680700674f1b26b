"""`make demo`: train an adapter on questions about lorad, serve it, and compare it with the base over HTTP.

Exits 0 only if the adapter beats the base on held-out questions. A second run finds the adapter trained and skips to
serving it; `make demo RETRAIN=1` trains again.
"""

import argparse
import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters.errors import AdapterError
from adapters.manifest import Manifest
from service.cli.console import duration
from service.settings import Settings

SPLIT = Path(__file__).parent / "lorad_questions" / "make.py"
"""Splits 72 facts by phrasing: each fact is learnt from five questions and asked for in a sixth."""
NAME = "lorad-questions"
NUM_SHOWN = 5
MAX_NEW_TOKENS = 48
START_SECONDS = 180

RECIPE = {
    "--epochs": "1.3",
    "--batch-size": "4",
    "--rank": "16",
    "--alpha": "32",
    "--learning-rate": "3e-3",
    "--max-length": "256",
    "--quantization": "nf4",
    "--eval-every": "1000",
    "--save-every": "1000",
}
"""Flags of `lorad train`; 1.3 epochs of 22,551 tokens stay below 30,000."""

console = Console()
lorad = str(Path(sys.executable).with_name("lorad"))


def main() -> int:
    """Runs the demo; the exit status says whether the adapter won."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrain", action="store_true", help="Train even if the adapter is there.")
    retrain = parser.parse_args().retrain
    settings = Settings()
    started = time.monotonic()

    heading("1. Splitting and checking the data")
    train, held_out = split(settings.home / "demo" / "data")
    run("data", "check", str(train), "--validation", str(held_out), "--max-length", RECIPE["--max-length"])

    heading("2. Training a QLoRA adapter")
    output = settings.home / "demo" / NAME
    if not retrain and is_trained(output, train):
        console.print(f"{output} is trained on this data already (make demo RETRAIN=1 trains again)")
        run("adapters", "import", str(output), "--name", NAME)
    else:
        flags = [part for pair in RECIPE.items() for part in pair]
        files = ["--data", str(train), "--validation", str(held_out), "--output", str(output), "--name", NAME]
        run("train", *files, *flags, "--overwrite")

    heading("3. Serving base and adapter")
    with server(settings) as client:
        questions = read_rows(held_out)
        shown = questions[:: len(questions) // NUM_SHOWN][:NUM_SHOWN]
        answers = ask(client, [row["question"] for row in shown])
        heading(f"4. The same {len(questions)} held-out questions to both")
        results = evaluate(client, questions)
    print_answers(shown, answers)
    better = print_scores(results)
    console.print(f"\nThe whole demo took {duration(time.monotonic() - started)}. make serve serves what it trained.")
    return 0 if better else 1


def heading(text: str) -> None:
    """A step's title."""
    console.print(Text(f"\n{text}", style="bold"))


def run(*arguments: str) -> None:
    """Runs a lorad command in front of the user and ends the demo when it fails."""
    console.print(Text(f"$ lorad {' '.join(arguments)}", style="dim"))
    status = subprocess.run([lorad, *arguments], check=False).returncode
    if status:
        sys.exit(status)


def split(folder: Path) -> tuple[Path, Path]:
    """Writes the training and the held-out file."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, str(SPLIT), "--output", str(folder)], check=True)
    return folder / "train.jsonl", folder / "test.jsonl"


def is_trained(output: Path, train: Path) -> bool:
    """Whether `output` holds an adapter that this recipe made from `train`."""
    try:
        manifest = Manifest.read(output)
    except (AdapterError, OSError):
        return False
    recipe = {flag.removeprefix("--").replace("-", "_"): value for flag, value in RECIPE.items()}
    same_data = manifest.data is not None and manifest.data.digest == f"sha256:{digest(train)}"
    return same_data and all(same(manifest.training.get(key), value) for key, value in recipe.items())


def same(recorded: object, flag: str) -> bool:
    """Whether a recorded setting is what a flag says."""
    if isinstance(recorded, int | float):
        return float(recorded) == float(flag)
    return recorded == flag


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def server(settings: Settings) -> Iterator[httpx.Client]:
    """A server on a free port for the time of the block, and a client of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = settings.home / "demo" / "server.log"
    with log.open("wb") as stream:
        # On the base as it was trained: an adapter of a quantised base makes up for that base's rounding too.
        command = [lorad, "serve", "--port", str(port), "--quantization", RECIPE["--quantization"]]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=httpx.Timeout(10, read=600)) as client:
            wait_until_ready(client, process, log)
            console.print(f"{url} is ready; its log is {log}")
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Polls /health until the base is loaded."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the server ended with status {process.returncode}; see {log}")
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"the server was not ready after {START_SECONDS} s; see {log}")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ask(client: httpx.Client, questions: list[str]) -> list[dict[str, Any]]:
    """Both models' answers to each question, in one mixed batch."""
    body = {"prompt": questions, "adapters": [None, NAME], "max_tokens": MAX_NEW_TOKENS, "temperature": 0}
    outputs: list[dict[str, Any]] = post(client, "/generate", body)["outputs"]
    return outputs


def evaluate(client: httpx.Client, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Both models' scores, the base first. One call a model, so that each has its own tokens per second."""
    cases = [{"prompt": row["question"], "completion": row["answer"]} for row in rows]
    metrics = ["loss", "perplexity", "token_accuracy", "exact_match", "rouge_l"]
    found = []
    for model in (None, NAME):
        body = {"models": [model], "cases": cases, "metrics": metrics, "max_tokens": MAX_NEW_TOKENS}
        # However many cases there are: the demo has nothing else to do.
        body["background"] = False
        found.append(post(client, "/evaluate", body)["results"][0])
    return found


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON answer, or the end of the demo with the server's error."""
    response = client.post(path, json=body)
    if response.is_error:
        sys.exit(f"POST {path} answered {response.status_code}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def print_answers(rows: list[dict[str, str]], answers: list[dict[str, Any]]) -> None:
    """What was asked, what both said, what would have been right."""
    table = Table("question", "base", "adapter", "expected", show_lines=True)
    for index, row in enumerate(rows):
        base, adapter = (answer["text"] for answer in answers if answer["prompt_index"] == index)
        table.add_row(*(Text(text) for text in (row["question"], base, adapter, row["answer"])))
    console.print(table)


def print_scores(results: list[dict[str, Any]]) -> bool:
    """The scores side by side; returns whether the adapter wins."""
    base, adapter = results
    table = Table("held-out questions", "base", "adapter")
    for name, title in {
        "loss": "loss (nats a token)",
        "perplexity": "perplexity",
        "token_accuracy": "token accuracy",
        "exact_match": "exact match",
        "rouge_l": "ROUGE-L",
    }.items():
        table.add_row(title, f"{base['metrics'][name]:.3f}", f"{adapter['metrics'][name]:.3f}")
    table.add_row("tokens per second", *(f"{result['tokens_per_second']:.0f}" for result in results))
    console.print(table)
    better: bool = (
        adapter["metrics"]["loss"] < base["metrics"]["loss"]
        and adapter["metrics"]["rouge_l"] > base["metrics"]["rouge_l"]
        and adapter["metrics"]["exact_match"] >= base["metrics"]["exact_match"]
    )
    verdict = Text("the adapter beats the base", style="bold green")
    console.print(verdict if better else Text("the adapter does not beat the base", style="bold red"))
    return better


if __name__ == "__main__":
    sys.exit(main())
