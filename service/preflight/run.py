"""The preflight itself: files meet a base, and what would happen is told before anything heavy starts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from base.loader import Device, DType, Quantization, load_tokenizer, resolve_device, resolve_dtype
from base.rendering import Renderer, TemplateChoice, create_renderer
from base.source import BaseSource
from corpus.dataset import Dataset
from corpus.findings import Finding, finding
from corpus.records import Record
from corpus.report import Report, check
from corpus.tokens import RowTokens, Tokens
from corpus.usable import CheckOptions
from service.preflight.auto import AutoChoice, AutoFacts, choose, decide
from service.preflight.estimate import Estimate, RunPlan, estimate, memory_request
from service.preflight.machine import machine_memory
from service.preflight.memory import peak_memory
from service.preflight.pairs import cost_rows
from service.preflight.report import BaseSummary, Preflight
from service.preflight.shape import ModelShape, model_shape
from service.preflight.template import FittingEncoder, special_tokens
from training.config import AskedConfig, TrainingConfig
from training.rows.cache import TokenCache
from training.rows.parts import parts_of


@dataclass(frozen=True, kw_only=True)
class PreflightRequest:
    """A run that somebody thinks of."""

    train: Dataset
    """Loaded with its bad rows left out and named."""
    validation: Dataset | None = None
    source: BaseSource
    template: TemplateChoice = "auto"
    device: Device = "auto"
    dtype: DType = "auto"
    quantization: Quantization = "none"
    config: AskedConfig = field(default_factory=AskedConfig)
    chosen: tuple[AutoChoice, ...] = ()
    """What was chosen when the run began, where this is its continuation."""
    skip_bad: bool = False
    token_cache: TokenCache | None = None
    """Where rows are kept as tokens from one run to the next."""


@dataclass(frozen=True)
class Flight:
    """A preflight and what it was made with, so that a run need not make it again."""

    preflight: Preflight
    encoder: FittingEncoder

    def first_rows(self, records: Sequence[Record]) -> list[tuple[Record, Tokens]]:
        """The first usable one of `records` of each file with its tokens; none of a file where none is usable."""
        usable = {(row.file, row.line) for row in self.preflight.train.rows}
        first: dict[str, Record] = {}
        for record in records:
            if (record.file, record.line) in usable:
                first.setdefault(record.file, record)
        return [(record, self.encoder(record)) for record in first.values()]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return str(self.encoder.tokenizer.decode(list(tokens)))


def fly(request: PreflightRequest) -> Flight:
    """Look at the rows, the template, and the cost of `request`; loads the tokenizer, and no weights.

    Raises:
        BaseModelError: the base cannot be read, or this machine lacks the device.
    """
    tokenizer = load_tokenizer(request.source)
    renderer = create_renderer(tokenizer, request.template)
    encoder = FittingEncoder(tokenizer, renderer)
    if request.token_cache is not None:
        for dataset in (request.train, *([] if request.validation is None else [request.validation])):
            encoder.remember(dataset, request.token_cache)
    shape = model_shape(request.source.folder)
    # A row beyond the base's context could be learnt but never asked for.
    max_length = min(request.config.max_length, shape.context_tokens)
    options = CheckOptions(
        max_length=max_length,
        skip_bad=request.skip_bad,
        own_tokens=special_tokens(tokenizer),
    )
    validation = None if request.validation is None else _held_out(request.validation, encoder, options)
    held_out = () if request.validation is None else request.validation.records
    train = check(request.train, tokenise=encoder, validation=held_out, options=options)
    encoder.save()
    cost = (
        _Cost(shape, request, cost_rows(train, request.config, request.train.records, encoder, max_length))
        if train.rows
        else None
    )
    expected = None if cost is None else cost.estimate()
    preflight = Preflight(
        base=_summary(request, shape, renderer),
        train=train,
        validation=validation,
        max_length=max_length,
        estimate=expected,
        choices=() if cost is None else cost.choices,
        config=None if cost is None else cost.config,
        findings=() if expected is None else tuple(_memory_findings(expected)),
    )
    return Flight(preflight, encoder)


def _held_out(dataset: Dataset, encoder: FittingEncoder, options: CheckOptions) -> Report:
    return check(dataset, tokenise=encoder, options=options, held_out=True)


class _Cost:
    """What the rows would cost with this base on this machine."""

    def __init__(self, shape: ModelShape, request: PreflightRequest, rows: Sequence[RowTokens]) -> None:
        device = resolve_device(request.device)
        dtype = resolve_dtype(request.dtype, device)
        self._shape = shape
        self._machine = machine_memory(device)
        self._rows = rows
        # Any number does until one is chosen: the choice sets its own.
        some = dict.fromkeys(request.config.open_settings, 1)
        asked = TrainingConfig.model_validate({**request.config.model_dump(), **some})
        self._plan = RunPlan(
            config=asked,
            quantization=request.quantization,
            dtype_bytes=dtype.itemsize,
            on_cpu=device.type == "cpu",
        )
        kept = {choice.name: choice for choice in request.chosen}
        self.choices = tuple(kept.get(choice.name, choice) for choice in self._choices())
        self.config = decide(request.config, self.choices)
        self._plan = replace(self._plan, config=self.config)

    def estimate(self) -> Estimate:
        """The whole run's."""
        return estimate(self._shape, self._plan, self._rows, self._machine)

    def _choices(self) -> tuple[AutoChoice, ...]:
        def peak_bytes(batch_size: int) -> int:
            plan = self._plan.with_config(batch_size=batch_size)
            return peak_memory(self._shape, memory_request(plan, self._rows, self._machine)).total_bytes

        facts = AutoFacts(
            model_type=self._shape.model_type,
            hidden_size=self._shape.hidden_size,
            num_rows=sum(part.num_drawn for part in parts_of(self._rows)),
            accumulation=self._plan.config.gradient_accumulation,
            peak_bytes=peak_bytes,
            free_bytes=self._machine.free_bytes,
        )
        return choose(facts)


def _summary(request: PreflightRequest, shape: ModelShape, renderer: Renderer) -> BaseSummary:
    return BaseSummary(
        name=request.source.name,
        num_parameters=shape.num_parameters,
        context_tokens=shape.context_tokens,
        template=renderer.identity.kind,
        quantization=request.quantization,
    )


def _memory_findings(expected: Estimate) -> list[Finding]:
    if expected.fits:
        return []
    ways = " or ".join(f"{remedy.change} ({_gib(remedy.needs_bytes)} GiB)" for remedy in expected.remedies)
    return [
        finding(
            "memory",
            f"the run needs about {_gib(expected.needs_bytes)} GiB, free are {_gib(expected.free_bytes)}",
            count=1,
            fix=f"give {ways}" if ways else "no smaller pass nor quantisation is enough: take a smaller base",
        )
    ]


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}"
