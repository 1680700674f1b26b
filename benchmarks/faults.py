"""Jobs under faults: `python -P benchmarks/faults.py --base FOLDER [--kills 200]`.

A worker process and its trainers run real jobs on a tiny random model that takes the tokenizer of `--base`. Rows of
the table: worker, trainer, or the trainer's whole process group, in turn, is killed at a random moment; worker, then
trainer, dies at its first, second, … fsync, rename or link; the worker is stopped past its lease and wakes beside
another; the workspaces are a tmpfs too small for a whole run; PostgreSQL crashes, or S3 is cut off, for 5 s at a
random moment. After each fault a worker goes on, and what may not happen is counted. All jobs are alike, so their
adapters must equal an uninterrupted run's. All the while a thread reads a published adapter.
(`-P` keeps `benchmarks/training.py` from being taken for the package.)
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Beside the tests' servers, which are no package that is installed.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.fault_runs.counts import Counts
from benchmarks.fault_runs.place import Place
from benchmarks.fault_runs.strikes import durable_kills, full_disks, outages, random_kills, sleeps
from tests.servers.postgresql import cluster
from tests.servers.s3 import S3Server


def tiny_base(tokenizer_of: Path, folder: Path) -> Path:
    """A random Llama of two layers."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def main() -> None:
    """Prints one Markdown table; exits 1 where something happened that may not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="whose tokenizer is used")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--durable", type=int, default=200, help="most calls to die at")
    parser.add_argument("--durable-from", type=int, default=1, metavar="N", help="the call to begin with")
    parser.add_argument("--sleeps", type=int, default=20)
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--databases", type=int, default=10, help="times at which PostgreSQL crashes")
    parser.add_argument("--stores", type=int, default=10, help="times at which S3 is cut off")
    options = parser.parse_args()
    print("| fault | times | lost | partial versions | run twice | unlike the whole run | unfinished | misread | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    failed = False

    def row(name: str, num: int, place: Place, fault: Callable[[Place, Counts, int], None]) -> None:
        nonlocal failed
        if not num:
            return
        started, counts = time.monotonic(), Counts()
        with place.reading(counts):
            fault(place, counts, num)
        failed |= any(counts.wrong)
        shown = " | ".join(map(str, counts.wrong))
        print(f"| {name} | {counts.faults} | {shown} | {time.monotonic() - started:.0f} |", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = tiny_base(options.base, folder / "tiny")
        place = Place(folder / "home", base)
        row("killed at random", options.kills, place, random_kills)
        row("killed at a durable call", options.durable, place, partial(durable_kills, first=options.durable_from))
        row("stopped past the lease", options.sleeps, place, sleeps)
        row("disk full", options.disks, place, full_disks)
        place.registry.database.dispose()
        if options.databases:
            with cluster() as server:
                far = Place(folder / "database", base, database_url=server.make_database())

                def crash() -> None:
                    far.away.set()
                    server.stop()

                def recover() -> None:
                    server.start()
                    far.away.clear()

                row(
                    "database down for 5 s", options.databases, far,
                    lambda place, counts, num: outages(place, counts, num, crash, recover),
                )  # fmt: skip
                far.registry.database.dispose()
        if options.stores:
            store = S3Server()
            os.environ.update(store.environment())
            remote = Place(folder / "store", base, storage_url=f"{store.make_bucket('faults')}/lorad")
            row(
                "S3 down for 5 s", options.stores, remote,
                lambda place, counts, num: outages(place, counts, num, store.proxy.cut, store.proxy.restore),
            )  # fmt: skip
            remote.registry.database.dispose()
            store.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
