"""Whether an export answers as its adapter does: the same greedy tokens, and nearly the same logits.

Shape legend: T answered tokens, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from adapters.manifest import GoldenLogits
from base.loader import Device, LoadedBase, LoadOptions, load
from base.rendering import create_renderer
from base.shapes import embedding_rows
from service.engine.residency.verification import Expectation, fault
from service.errors import ExportError
from service.export.material import Material
from service.export.unmerged import applied

QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Answer with a list of three colours: red, 2 blues & a grün.",
    "def add(a, b):\n    return",
)
"""Short, and unlike each other: prose, figures, letters beyond ASCII, code."""
_ANSWER_TOKENS = 16
_TOLERANCE = {"float32": 1e-3, "float16": 5e-3, "bfloat16": 5e-2, "q8_0": 1e-1}
"""How far a logit may be off, as a share of the largest, by what the export is stored as."""
_KEPT = 0.5
"""The export must be this much nearer to the adapter than the base is: else rounding has covered the change."""


@dataclass(frozen=True)
class Answered:
    """What the adapter answers to one prompt, beside its base and never merged; all in float32."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    """Greedy."""
    logits_TV: Tensor
    base_logits_TV: Tensor
    """The base's, along the adapter's answer."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How an export compares with its adapter."""

    prompts: int
    tokens: int
    same_tokens: int
    ties: int
    """Tokens that differ where the adapter's two best are closer than the limit: rounding decides there."""
    largest_difference: float
    """Of a logit."""
    limit: float
    change_kept: float
    """1: the export is the adapter; 0: it is as far from it as the base is."""

    def to_json(self) -> dict[str, Any]:
        """For the record that goes with the export."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.same_tokens} of {self.tokens} greedy tokens over {self.prompts} prompts are the adapter's"
            f"{f', {self.ties} ties' if self.ties else ''}; logits differ by at most {self.largest_difference:.2g}"
        )


@dataclass(frozen=True)
class Expected:
    """What an export is held against."""

    prompts: Mapping[str, tuple[int, ...]]
    """The fixed questions and the tokens that training would have rendered them to."""
    answers: tuple[Answered, ...]


def expect(material: Material, device: Device) -> Expected:
    """What base and adapter answer to the golden prompt and to the fixed ones, in float32.

    Raises:
        ExportError: the adapter does not give the golden logits of its own manifest.
    """
    base = load(material.source, exact(device))
    renderer = create_renderer(base.tokenizer, material.template)
    prompts = {text: tuple(renderer.prompt([{"role": "user", "content": text}])) for text in QUESTIONS}
    golden = _usable_golden(material, base)
    rows = ([] if golden is None else [golden.prompt_ids]) + list(prompts.values())
    answers = tuple(_answer(base, material, row) for row in rows)
    if golden is not None and (golden.quantization, golden.dtype) == ("none", "float32"):
        wrong = fault(Expectation(golden, identity=False), answers[0].logits_TV[0], None, base)
        if wrong is not None:
            raise ExportError(f"adapter {material.label} cannot be exported: {wrong}")
    return Expected(prompts, answers)


def exact(device: Device) -> LoadOptions:
    """How both sides of the comparison are loaded, so that only the weights can differ."""
    return LoadOptions(device=device, dtype="float32", quantization="none")


def check_rendering(expected: Expected, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse an export whose tokenizer or template makes other tokens of a prompt than training did.

    Raises:
        ExportError: names the first prompt that differs.
    """
    renderer = create_renderer(tokenizer)
    for text, ids in expected.prompts.items():
        if tuple(renderer.prompt([{"role": "user", "content": text}])) != ids:
            raise ExportError(
                f"the export's tokenizer renders {text!r} to other tokens than in training, so it was removed: "
                "export with --format peft"
            )


def compare(expected: Expected, model: nn.Module, stored_as: str) -> Parity:
    """Run the exported model along the adapter's answers.

    Args:
        expected: from `expect`.
        model: the export, loaded again in float32.
        stored_as: its weights' format, a key of the tolerances.

    Raises:
        ExportError: it answers otherwise, or not as the adapter but as the base.
    """
    pairs = [(one, _logits_along(model, one.prompt_ids, one.answer_ids)) for one in expected.answers]
    limit = _TOLERANCE[stored_as] * max(float(one.logits_TV.abs().max()) for one, _ in pairs)
    same = [one.logits_TV.argmax(dim=1) == logits_TV.argmax(dim=1) for one, logits_TV in pairs]
    tied = [_gaps(one.logits_TV) < limit for one, _ in pairs]
    off = max(float((one.logits_TV - logits_TV).abs().max()) for one, logits_TV in pairs)
    parity = Parity(
        prompts=len(pairs),
        tokens=sum(len(flags) for flags in same),
        same_tokens=sum(int(flags.sum()) for flags in same),
        ties=sum(int((~flags & ties).sum()) for flags, ties in zip(same, tied, strict=True)),
        largest_difference=off,
        limit=limit,
        change_kept=_change_kept(pairs),
    )
    _refuse(parity)
    return parity


def _refuse(parity: Parity) -> None:
    wrong = parity.tokens - parity.same_tokens - parity.ties
    if wrong or not parity.largest_difference <= parity.limit:
        raise ExportError(
            f"the export does not answer as the adapter: {wrong} of {parity.tokens} greedy tokens differ, and logits "
            f"by up to {parity.largest_difference:.3g} ({parity.limit:.3g} is the limit); it was removed. "
            "Choose a --dtype of higher precision, or export with --format peft"
        )
    if not parity.change_kept >= _KEPT:
        raise ExportError(
            f"rounding covers the adapter's change (only {parity.change_kept:.0%} of it is left): the export was "
            "removed; choose a --dtype of higher precision, or export with --format peft"
        )


def _usable_golden(material: Material, base: LoadedBase) -> GoldenLogits | None:
    golden = material.checked.manifest.golden
    rows = embedding_rows(base.model)
    # An adapter from elsewhere brings a manifest of its own: its token ids may be beyond this base.
    usable = golden is not None and golden.prompt_ids and all(token < rows for token in golden.prompt_ids)
    return golden if usable else None


@torch.no_grad()
def _answer(base: LoadedBase, material: Material, prompt_ids: tuple[int, ...]) -> Answered:
    with applied(base.model, material.weights, material.checked.config):
        answer_ids = _greedy(base.model, prompt_ids)
        logits_TV = _logits_along(base.model, prompt_ids, answer_ids)
    return Answered(prompt_ids, answer_ids, logits_TV, _logits_along(base.model, prompt_ids, answer_ids))


def _greedy(model: Any, prompt_ids: tuple[int, ...]) -> tuple[int, ...]:
    answer: list[int] = []
    fed, cache = list(prompt_ids), None
    for _ in range(_ANSWER_TOKENS):
        step = model(input_ids=_row(fed, model), past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = step.past_key_values
        fed = [int(step.logits[0, -1].argmax())]
        answer += fed
    return tuple(answer)


@torch.no_grad()
def _logits_along(model: Any, prompt_ids: tuple[int, ...], answer_ids: tuple[int, ...]) -> Tensor:
    """The logits [T, V] that choose each token of the answer."""
    row = _row([*prompt_ids, *answer_ids[:-1]], model)
    logits: Tensor = model(input_ids=row, use_cache=False, logits_to_keep=len(answer_ids)).logits[0]
    return logits.float().cpu()


def _row(ids: Sequence[int], model: nn.Module) -> Tensor:
    return torch.tensor([list(ids)], device=next(model.parameters()).device)


def _gaps(logits_TV: Tensor) -> Tensor:
    best_T2 = logits_TV.topk(2, dim=1).values
    return best_T2[:, 0] - best_T2[:, 1]


def _change_kept(pairs: Sequence[tuple[Answered, Tensor]]) -> float:
    """1 minus the export's distance from the adapter over the base's; 1 where the adapter changes nothing."""
    change = sum(float((one.base_logits_TV - one.logits_TV).square().sum()) for one, _ in pairs)
    loss = sum(float((logits_TV - one.logits_TV).square().sum()) for one, logits_TV in pairs)
    return 1.0 if change == 0 else 1.0 - (loss / change) ** 0.5
