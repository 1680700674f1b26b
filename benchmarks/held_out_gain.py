"""How far training lowers the held-out loss: `python benchmarks/held_out_gain.py --data DIR [--set NAME]`.

DIR holds `lamini_docs/{train,test}.jsonl` (question, answer) and `banking77/train.jsonl` (text, label). Prints a
Markdown table and, above it, the exact command of each row. Needs no server; adapters stay unpublished.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SETS = {
    "lamini_docs": [
        "--data", "{data}/lamini_docs/train.jsonl", "--validation", "{data}/lamini_docs/test.jsonl", "--skip-bad",
        "--epochs", "1", "--learning-rate", "2.2e-3", "--rank", "32", "--alpha", "64", "--max-length", "512",
        "--quantization", "nf4",
    ],
    "banking77": [
        # The file is sorted by label: 2,000 rows by a seeded sample that is stratified by label.
        "--data", "{data}/banking77/train.jsonl", "--max-rows", "2000", "--validation-fraction", "0.1",
        "--epochs", "1", "--learning-rate", "1e-3", "--quantization", "nf4",
    ],
}  # fmt: skip
"""Flags of `lorad train` for each data set."""


def main() -> None:
    """Runs the chosen sets and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=SETS, action="append")
    arguments = parser.parse_args()
    rows = [measure(name, arguments.data) for name in arguments.set or SETS]
    print("| data | base loss | tuned loss | change | tokens | tok/s | peak memory |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(row)


def measure(name: str, data: Path) -> str:
    """One row of the table."""
    flags = [flag.format(data=data) for flag in SETS[name]]
    print(f"lorad train {shlex.join(flags)} --output OUT", flush=True)
    with tempfile.TemporaryDirectory() as output:
        result = train([*flags, "--output", output, "--overwrite"])
    change = result["valid_loss"] / result["base_valid_loss"] - 1
    return (
        f"| {name} | {result['base_valid_loss']:.4f} | {result['valid_loss']:.4f} | {change:+.1%} | "
        f"{result['trained_tokens']:,} | {result['tokens_per_second']:.0f} | "
        f"{result['peak_memory_bytes'] / 2**30:.1f} GiB |"
    )


def train(flags: list[str]) -> dict[str, Any]:
    """Runs `lorad train --json` and returns its result event."""
    lorad = shutil.which("lorad", path=str(Path(sys.executable).parent)) or "lorad"
    done = subprocess.run([lorad, "train", "--json", *flags], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["event"] == "result"
    return result


if __name__ == "__main__":
    main()
