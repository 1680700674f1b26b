"""Tasks as the harness reads them: its own definitions, with local files in the place of the hub's data.

What is written here serves the harness's own command too: `lm_eval --include_path FOLDER`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_eval.tasks
import yaml

from evaluation.harness.catalogue import Benchmark
from evaluation.harness.errors import BenchmarkDataError

_TASKS = Path(lm_eval.tasks.__file__).parent

_Rows = list[dict[str, Any]]


def write_tasks(benchmarks: Sequence[Benchmark], data: Path | None, folder: Path) -> None:
    """Writes a definition for each task of the benchmarks, and their rows if they come from local files.

    Args:
        benchmarks: which.
        data: a folder with one folder for each benchmark, in it JSONL files named after splits; None: the hub's data.
        folder: where to; made if it is not there.

    Raises:
        BenchmarkDataError: a file is missing or is not in the benchmark's format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for each in benchmarks:
        splits = None if data is None else dict(_read_splits(each, _data_folder(each, data)))
        if (_TASKS / each.definition).is_dir():
            _write_group(each, splits, folder)
        else:
            _write_task(each, _TASKS / each.definition, splits, folder / each.name)


def _write_group(benchmark: Benchmark, splits: dict[str, _Rows] | None, folder: Path) -> None:
    """A task for each subject that there are rows of, and the groups that have such tasks."""
    home, tags = _TASKS / benchmark.definition, set()
    for path in sorted(home.glob(f"{benchmark.name}_*.yaml")):
        subject = path.stem.removeprefix(f"{benchmark.name}_")
        own = None
        if splits is not None:
            own = {split: [row for row in rows if row["subject"] == subject] for split, rows in splits.items()}
            if not own["test"]:
                continue
        _write_task(benchmark, path, own, folder / benchmark.name / subject)
        tags.add(yaml.safe_load(path.read_text(encoding="utf-8"))["tag"])
    groups = []
    for path in sorted(home.glob(f"_{benchmark.name}_*.yaml")):
        group = yaml.safe_load(path.read_text(encoding="utf-8"))
        if tags & set(group["task"]):
            groups.append(group["group"])
            _dump({"include": str(path)}, folder / benchmark.name / path.name)
    whole = home / f"_{benchmark.name}.yaml"
    _dump({"include": str(whole), "task": groups}, folder / benchmark.name / whole.name)


def _write_task(benchmark: Benchmark, definition: Path, splits: dict[str, _Rows] | None, folder: Path) -> None:
    task: dict[str, Any] = {"include": str(definition)}
    if splits is not None:
        files = {split: folder / f"{split}.jsonl" for split in splits}
        for split, rows in splits.items():
            files[split].parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(row, ensure_ascii=False) for row in rows)
            files[split].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        arguments = {
            "data_files": {split: str(path.resolve()) for split, path in files.items()},
            "cache_dir": str((folder / "cache").resolve()),
        }
        task |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": arguments}
        for split in benchmark.optional - set(splits):
            task["training_split" if split == "train" else f"{split}_split"] = None
    _dump(task, folder / "task.yaml")


def _dump(task: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")


def _data_folder(benchmark: Benchmark, data: Path) -> Path:
    for name in benchmark.folder:
        if (data / name).is_dir():
            return data / name
    raise BenchmarkDataError(f"{data} has no folder {' or '.join(benchmark.folder)} for {benchmark.name}.")


def _read_splits(benchmark: Benchmark, folder: Path) -> Iterator[tuple[str, _Rows]]:
    for split, names in benchmark.splits.items():
        paths = [folder / f"{name}.jsonl" for name in names]
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            yield split, _read(benchmark, path)
        elif split not in benchmark.optional:
            raise BenchmarkDataError(f"{benchmark.name} needs {' or '.join(map(str, paths))}, which is not there.")


def _read(benchmark: Benchmark, path: Path) -> _Rows:
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found.append(benchmark.convert(json.loads(line)))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                raise BenchmarkDataError(f"{path}:{number} is no row of {benchmark.name}: {reason}.") from error
    if not found:
        raise BenchmarkDataError(f"{path} has no rows.")
    return found
