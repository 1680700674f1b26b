"""The rows of one training run: read, held out, and taken in part."""

import math
from dataclasses import dataclass

from pydantic import JsonValue

from corpus.dataset import Dataset, load, load_files
from corpus.records import Record
from corpus.split import nested_sample, sample, split
from service.training.spec import TrainingSpec
from training.rows.examples import Prepared


@dataclass(frozen=True)
class Rows:
    """What a run learns from and is measured by."""

    train: tuple[Record, ...]
    valid: tuple[Record, ...]
    train_set: Dataset
    """All rows of the training files, those held out or not taken included."""
    valid_set: Dataset | None


def read_rows(spec: TrainingSpec) -> Rows:
    """Read the run's files and divide their rows; bad rows are left out and named, for the preflight to judge.

    The rows held out do not depend on the share of the others that is learnt.

    Raises:
        CorpusError: a file cannot be read, or has too few rows.
    """
    train_set = load_files(spec.data, spec.columns, skip_bad=True)
    train: tuple[Record, ...] = train_set.records
    valid: tuple[Record, ...] = ()
    valid_set: Dataset | None = None
    if spec.max_rows is not None and spec.max_rows < len(train):
        train = tuple(sample(train, spec.max_rows, spec.config.seed))
    if spec.validation is not None:
        valid_set = load(spec.validation, spec.columns, skip_bad=True)
        valid = valid_set.records
    elif spec.validation_fraction is not None:
        sides = split(train, test_fraction=spec.validation_fraction, seed=spec.config.seed)
        train, valid = sides.train, sides.test
    if spec.data_fraction is not None:
        train = nested_sample(train, spec.data_fraction, spec.config.seed)
    return Rows(train, valid, train_set, valid_set)


def lineage_of(dataset: Dataset) -> dict[str, JsonValue]:
    """What a version tells of the files it was trained on."""
    return {
        "data": [
            {"path": file.path, "digest": f"sha256:{file.digest}", "weight": file.weight} for file in dataset.files
        ],
        "data_digest": f"sha256:{dataset.digest}",
    }


def bits_per_byte(loss: float | None, prepared: Prepared | None, records: tuple[Record, ...]) -> float | None:
    """A held-out loss as bits for each UTF-8 byte of the answers: what bases of other tokenizers can be compared by.

    None where there is no loss, or where rows were cut off or refused: another base would have scored other bytes.

    Args:
        loss: nats per labelled token.
        prepared: the rows as that base's tokens.
        records: the same rows as text.
    """
    if loss is None or prepared is None or prepared.num_truncated or prepared.refused:
        return None
    num_bytes = sum(len(record.completion.encode()) for record in records)
    return loss * prepared.num_labelled / math.log(2) / num_bytes if num_bytes else None
