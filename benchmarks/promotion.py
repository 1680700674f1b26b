"""Does a gate let the better adapter through and keep a spoiled one out? `python benchmarks/promotion.py --data DIR`.

DIR holds `train.jsonl` and `test.jsonl` in any layout that training takes: banking77, examples/text_to_sql,
examples/ticket_routing. On a server of its own, with the embedded base, as users would do it:

1. a short job, whose version the gate holds against the base;
2. a longer one, which the gate holds against the first;
3. one on the same rows with shuffled answers, which the gate has to refuse;
4. a rollback, after which `NAME@prod` answers token for token as it did before 2.

Prints a Markdown table and ends with status 1 where any of it is otherwise.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from corpus.dataset import load
from service.api.process.server import Server
from service.settings import Settings

Json = dict[str, Any]
NAME = "candidate"


@dataclass(frozen=True)
class Pair:
    """One row."""

    prompt: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, and on what it is measured."""

    train: Sequence[Pair]
    test: Sequence[Pair]
    short_steps: int
    long_steps: int
    metric: str = "exact_match"
    batch_size: int = 8
    learning_rate: float = 1e-3
    max_tokens: int = 16
    num_probes: int = 8
    """Prompts whose answers must come back."""

    @property
    def policy(self) -> str:
        """Of the gate."""
        return f"promote to prod if {self.metric} >= prod and no suite drops > 1 point"


@dataclass(frozen=True)
class Candidate:
    """One job and what the gate made of it."""

    what: str
    version: str
    check: Json


class Promotion:
    """The whole way, on a running server."""

    def __init__(self, client: httpx.Client, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self._base = self._call("GET", "/v1/models")["data"][0]["id"]

    def run(self) -> tuple[list[Candidate], list[str]]:
        """The candidates, and what did not come out as it should."""
        plan, train = self._plan, list(self._plan.train)
        suite = {
            "name": "held-out",
            "scorers": [{"name": plan.metric}],
            "generation": {"max_tokens": plan.max_tokens},
            "cases": [{"prompt": pair.prompt, "completion": pair.answer} for pair in plan.test],
        }
        self._call("POST", "/suites", json=suite)
        self._call("PUT", f"/v1/adapters/{NAME}/gates/prod", json={"policy": plan.policy, "suites": ["held-out"]})
        first = self._candidate("short", train, plan.short_steps)
        before = self._answers()
        second = self._candidate("longer", train, plan.long_steps)
        between = self._answers()
        spoiled = self._candidate("shuffled answers", shuffled(train), plan.long_steps)
        after = self._answers()
        self._call("POST", f"/v1/adapters/{NAME}/rollback", json={"alias": "prod", "reason": "the proof"})
        back = self._answers()
        facts = {
            "the short one was promoted": first.check["status"] == "promoted",
            "the longer one was promoted": second.check["status"] == "promoted",
            "the spoiled one was refused": spoiled.check["status"] == "refused",
            "the alias stayed while the spoiled one was refused": after == between,
            "the two promoted ones answer differently": before != between,
            "the rollback restored every token": back == before,
            "prod is the first version again": self._prod() == 1,
        }
        return [first, second, spoiled], [fact for fact, holds in facts.items() if not holds]

    def _candidate(self, what: str, rows: Sequence[Pair], steps: int) -> Candidate:
        """Trains with the gate asked for, and waits for both."""
        data = "".join(json.dumps({"prompt": row.prompt, "completion": row.answer}) + "\n" for row in rows)
        sent = self._call(
            "POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", data.encode())}
        )
        plan = self._plan
        settings = {
            "rank": 16, "alpha": 32, "epochs": 100, "max_steps": steps, "batch_size": plan.batch_size,
            "learning_rate": plan.learning_rate,
        }  # fmt: skip
        body = {"model": self._base, "training_file": sent["id"], "suffix": NAME, "gate": "prod", "lora": settings}
        job = self._call("POST", "/v1/fine_tuning/jobs", json=body)
        while job["finished_at"] is None:
            time.sleep(0.5)
            job = self._call("GET", f"/v1/fine_tuning/jobs/{job['id']}")
        if job["status"] != "succeeded":
            raise RuntimeError(f"{job['id']} {job['status']}: {job['error']}")
        path = f"/v1/adapters/{NAME}/gates/prod/checks"
        [check] = [each for each in self._call("GET", path)["data"] if each["job_id"] == job["id"]]
        while check["finished_at"] is None:
            time.sleep(0.5)
            check = self._call("GET", f"{path}/{check['id']}")
        print(f"{what}: {job['fine_tuned_model']} {check['reason']}", flush=True)
        return Candidate(what, job["fine_tuned_model"], check)

    def _answers(self) -> list[list[str]]:
        """What the alias answers, token by token."""
        found = []
        for pair in self._plan.test[: self._plan.num_probes]:
            body = {
                "model": f"{NAME}@prod", "messages": [{"role": "user", "content": pair.prompt}], "temperature": 0,
                "max_tokens": self._plan.max_tokens, "logprobs": True,
            }  # fmt: skip
            choice = self._call("POST", "/v1/chat/completions", json=body)["choices"][0]
            found.append([entry["token"] for entry in choice["logprobs"]["content"]])
        return found

    def _prod(self) -> int | None:
        aliases: dict[str, int] = self._call("GET", f"/v1/adapters/{NAME}")["aliases"]
        return aliases.get("prod")

    def _call(self, method: str, path: str, **options: Any) -> Any:
        response = self._client.request(method, path, **options)
        if response.is_error:
            raise RuntimeError(f"{method} {path} answered {response.status_code}: {response.text}")
        return response.json()


def shuffled(rows: Sequence[Pair], seed: int = 0) -> list[Pair]:
    """Each prompt with another row's answer, and a different one wherever there is one."""
    answers = [row.answer for row in rows]
    random.Random(seed).shuffle(answers)
    for at, row in enumerate(rows):
        if answers[at] == row.answer:
            others = [
                other
                for other in range(len(rows))
                if answers[other] != row.answer and rows[other].answer != answers[at]
            ]
            if others:
                answers[at], answers[others[0]] = answers[others[0]], answers[at]
    return [Pair(row.prompt, answer) for row, answer in zip(rows, answers, strict=True)]


def read_rows(path: Path) -> list[Pair]:
    """Rows of any layout that training takes."""
    return [Pair(record.prompt, record.completion) for record in load(path).records]


def sampled(rows: Sequence[Pair], count: int, classes: Sequence[str] | None, seed: int = 0) -> list[Pair]:
    """A seeded sample, of those answers only."""
    mine = [row for row in rows if classes is None or row.answer in classes]
    return random.Random(seed).sample(mine, min(count, len(mine)))


@contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """A server in this process, with a worker."""
    server = Server(settings)
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    try:
        while server.lifecycle.phase != "ready":
            if server.lifecycle.failure is not None:
                raise server.lifecycle.failure
            time.sleep(0.1)
        with httpx.Client(base_url=server.url, timeout=600) as client:
            yield client
    finally:
        server.stop()
        thread.join()


def table(candidates: Sequence[Candidate]) -> str:
    """What the gate saw of each."""
    lines = [
        "| trained on | version | candidate | prod then | 95% interval of the difference | gate |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for each in candidates:
        finding = each.check["findings"][0]
        difference = finding.get("difference") or {"low": 0.0, "high": 0.0, "verdict": "the same"}
        lines.append(
            f"| {each.what} | {each.version} | {finding['candidate']:.3f} | {finding['current']:.3f} "
            f"({finding['against']}) | {difference['low']:+.3f} to {difference['high']:+.3f}, {difference['verdict']} "
            f"| {each.check['status']} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Runs the proof."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--classes", type=int, help="Only rows of the most frequent so many answers.")
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--cases", type=int, default=80)
    parser.add_argument("--short-steps", type=int, default=12)
    parser.add_argument("--long-steps", type=int, default=80)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--metric", default="exact_match", help="Name of a scorer: exact_match, token_accuracy, …")
    arguments = parser.parse_args()
    train, test = (read_rows(arguments.data / f"{name}.jsonl") for name in ("train", "test"))
    classes = None
    if arguments.classes:
        classes = [answer for answer, _ in Counter(row.answer for row in train).most_common(arguments.classes)]
    plan = Plan(
        train=sampled(train, arguments.rows, classes),
        test=sampled(test, arguments.cases, classes),
        short_steps=arguments.short_steps,
        long_steps=arguments.long_steps,
        metric=arguments.metric,
        max_tokens=arguments.max_tokens,
    )
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), base_home=Settings().bases, port=0, workers=1, log_level="error")
        with serving(settings) as client:
            candidates, wrong = Promotion(client, plan).run()
    print(f"\n{table(candidates)}\n")
    for fact in wrong:
        print(f"NOT SO: {fact}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
