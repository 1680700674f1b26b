"""Names to answers: the base, its renderers, the registry and the engine put together, with no HTTP.

The server and the in-process commands stand on the same object, so they answer alike.
"""

from collections.abc import Mapping, Sequence

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.errors import BaseMismatchError, InvalidAdapterError
from adapters.manifest import ASSUMED, RenderingIdentity
from adapters.registry import Registry
from adapters.version import Version
from base.loader import LoadedBase, LoadOptions, load
from base.rendering import Renderer, TemplateKind, create_renderer, stop_ids
from base.shapes import embedding_rows, module_shapes
from base.source import BaseSource
from service.engine.engine import Engine
from service.engine.errors import InvalidAdaptersError
from service.engine.metrics import EngineMetrics
from service.engine.request import EngineConfig, GenerationRequest, SamplingParams
from service.engine.residency.loading import dora_refusal
from service.inference.known_versions import KnownVersions
from service.inference.target import ModelChoice, Target, WeightedAdapter, WeightedVersion, summed
from service.inference.token_texts import TokenTexts
from service.settings import Settings


class Inference:
    """One loaded base with every adapter of the registry.

    Args:
        base: the loaded base; this object owns it from now on.
        registry: resolved anew at each request, so that what another process publishes is served at once.
        settings: bounds and the public name.
    """

    def __init__(self, base: LoadedBase, registry: Registry, settings: Settings) -> None:
        self.base = base
        self.registry = registry
        self._versions = KnownVersions(registry)
        self.model_name = settings.served_model_name or base.name
        # Taken before the engine wraps the layers.
        self.facts = BaseFacts(name=base.name, digest=base.digest, linear_shapes=module_shapes(base.model))
        self.num_embeddings = embedding_rows(base.model)
        self.token_texts = TokenTexts(base.tokenizer)
        self.metrics = EngineMetrics(self.model_name, settings.max_loras)
        self._max_loras = settings.max_loras
        self._renderers: dict[TemplateKind, Renderer] = {}
        self._default_renderer = create_renderer(base.tokenizer)
        self.engine = Engine(base, _engine_config(settings), self.metrics)

    @classmethod
    def open(cls, source: BaseSource, registry: Registry, settings: Settings) -> "Inference":
        """Loads the base and starts its engine."""
        options = LoadOptions(device=settings.device, dtype=settings.dtype, quantization=settings.quantization)
        return cls(load(source, options), registry, settings)

    def resolve(self, tenant: str, model: ModelChoice) -> Target:
        """The base for None or its public name, else the adapter versions that the references mean now.

        Raises:
            AdapterError: a reference is malformed or means nothing.
            BaseMismatchError: a version was made for another base.
            InvalidAdaptersError: the adapters cannot act together, or not at all on this server.
        """
        if model is None or model == self.model_name:
            return self._target(tenant, self._default_renderer, ())
        chosen = (WeightedAdapter(model),) if isinstance(model, str) else model
        parts = tuple(WeightedVersion(self._version(tenant, each.reference), each.weight) for each in chosen)
        renderers = {renderer.identity.kind: renderer for renderer in map(self._renderer_of, parts)}
        if len(renderers) > 1:
            raise InvalidAdaptersError(
                f"{' and '.join(str(part.version.reference) for part in parts)} were trained with different prompt "
                "templates, so no prompt suits all of them"
            )
        total = summed(parts)
        _refuse_dora(total)
        return self._target(tenant, next(iter(renderers.values())), total)

    def request(
        self,
        target: Target,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        timeout_seconds: float | None = None,
    ) -> GenerationRequest:
        """A generation by `target`."""
        return GenerationRequest(
            prompt_ids=tuple(prompt_ids),
            params=params,
            stop_ids=target.stop_ids,
            adapters=target.adapters,
            tenant=target.tenant,
            timeout_seconds=timeout_seconds,
        )

    def render(self, target: Target, messages: Sequence[Mapping[str, object]]) -> list[int]:
        """The prompt's tokens, up to where the answer begins."""
        return target.renderer.prompt(messages)

    def close(self) -> None:
        """Ends the engine."""
        self.engine.close()

    def _version(self, tenant: str, reference: str) -> Version:
        if not self._max_loras:
            raise InvalidAdaptersError(
                f"{reference[:120]!r} is not the base {self.model_name!r}, and this server runs without adapters "
                "(--max-loras 0)"
            )
        if reference == self.model_name:
            raise InvalidAdaptersError(f"{reference!r} is the base: it has no change of itself to weigh")
        version = self._versions.resolve(tenant, reference)
        if version.base_digest not in (self.base.digest, ASSUMED):
            raise BaseMismatchError(
                expected=(self.base.digest, self.base.name), found=(version.base_digest, version.base_name)
            )
        return version

    def _target(self, tenant: str, renderer: Renderer, parts: tuple[WeightedVersion, ...]) -> Target:
        stops = stop_ids(self.base.model, renderer, self.base.tokenizer)
        return Target(tenant=tenant, renderer=renderer, stop_ids=stops, base_name=self.model_name, parts=parts)

    def _renderer_of(self, part: WeightedVersion) -> Renderer:
        rendering = part.version.manifest.rendering
        return self._default_renderer if rendering is None else self._renderer(part.version, rendering)

    def _renderer(self, version: Version, rendering: RenderingIdentity) -> Renderer:
        renderer = self._renderers.get(rendering.kind) or create_renderer(self.base.tokenizer, rendering.kind)
        self._renderers[rendering.kind] = renderer
        # Only the base's own templates are ever run: a template is code, and an adapter may come from anywhere.
        if renderer.identity.template != rendering.template_text:
            raise InvalidAdapterError(
                f"adapter {version.reference} was trained with another {rendering.kind} template than this base has; "
                "train it again on this base, or serve the base that it was trained on"
            )
        return renderer


def _refuse_dora(parts: Sequence[WeightedVersion]) -> None:
    """The engine sees it at the load only, when a stream's status line has been sent."""
    if len(parts) == 1 and parts[0].weight == 1:
        return
    for part in parts:
        if LoraConfig.read(part.version.path).dora:
            raise dora_refusal(part.source)


def _engine_config(settings: Settings) -> EngineConfig:
    return EngineConfig(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        cache_bytes=settings.kv_cache_memory_bytes,
        prefix_caching=settings.enable_prefix_caching,
        max_waiting=settings.max_waiting,
        max_loras=settings.max_loras,
        max_cpu_loras=settings.num_cpu_loras,
        fused=settings.fused,
    )
