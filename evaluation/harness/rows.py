"""Rows of public benchmark files, brought into the form that the hub's copy has and the harness's tasks expect.

Each function takes a row in one of the forms in which its benchmark is published and raises KeyError, TypeError or
ValueError where it is none of them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Convert = Callable[[Row], dict[str, Any]]

_FRAGMENT = re.compile(r"(?<=[.!?]) (?=[a-z][^.!?]*$)")
"""Before the words with which a HellaSwag ending begins, as ActivityNet's part has them: in lower case, after a
sentence."""


def arc(row: Row) -> dict[str, Any]:
    """AI2's own form has the stem and the choices as objects under `question`."""
    if isinstance(row["question"], str):
        question, choices = row["question"], row["choices"]
    else:
        question = row["question"]["stem"]
        choices = {key: [choice[key] for choice in row["question"]["choices"]] for key in ("text", "label")}
    if row["answerKey"] not in choices["label"]:
        raise ValueError(f"answerKey {row['answerKey']!r} is none of the labels {choices['label']}")
    return {
        "id": str(row.get("id", "")),
        "question": question,
        "choices": {"text": list(choices["text"]), "label": list(choices["label"])},
        "answerKey": row["answerKey"],
    }


def hellaswag(row: Row) -> dict[str, Any]:
    """Some copies join activity and context to `ctx`: "Roof shingle removal: A man is sitting on a roof. he"."""
    if "ctx_a" in row:
        activity, first, last = row["activity_label"], row["ctx_a"], row["ctx_b"]
    else:
        activity, _, context = row["ctx"].partition(": ")
        first, *rest = _FRAGMENT.split(context, maxsplit=1)
        last = rest[0] if rest else ""
    endings, label = list(row["endings"]), int(row["label"])
    if not 0 <= label < len(endings):
        raise ValueError(f"label {label} is none of the {len(endings)} endings")
    return {"activity_label": activity, "ctx_a": first, "ctx_b": last, "endings": endings, "label": str(label)}


def mmlu(row: Row) -> dict[str, Any]:
    """The answer is an index, or a letter."""
    choices, answer = list(row["choices"]), row["answer"]
    index = "ABCD".index(answer) if isinstance(answer, str) else int(answer)
    if len(choices) != 4 or not 0 <= index < 4:
        raise ValueError(f"four choices and an answer among them are needed, not {len(choices)} and {answer!r}")
    return {"question": row["question"], "subject": row["subject"], "choices": choices, "answer": index}


def truthfulqa(row: Row) -> dict[str, Any]:
    """The authors' own form has each answer with its label as an object; the right ones come first in both."""
    targets = {key: _targets(row[key]) for key in ("mc1_targets", "mc2_targets")}
    return {"question": row["question"], **targets}


def gsm8k(row: Row) -> dict[str, Any]:
    """One form only."""
    if "#### " not in row["answer"]:
        raise ValueError("the answer does not end in '#### ' and a number")
    return {"question": row["question"], "answer": row["answer"]}


def _targets(targets: Mapping[str, Any]) -> dict[str, list[Any]]:
    pairs = list(zip(targets["choices"], targets["labels"], strict=True)) if "choices" in targets else targets.items()
    # The harness takes the first for the right one, and counts on the wrong ones standing together.
    ordered = sorted(((text, int(label)) for text, label in pairs), key=lambda pair: -pair[1])
    if not ordered or ordered[0][1] != 1:
        raise ValueError("no answer is labelled right")
    return {"choices": [text for text, _ in ordered], "labels": [label for _, label in ordered]}
