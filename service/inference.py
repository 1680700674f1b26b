"""Names to answers: the base, its renderers, the registry and the engine put together, with no HTTP.

The server and the in-process commands stand on the same object, so they answer alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.base_facts import BaseFacts
from adapters.errors import BaseMismatchError, InvalidAdapterError
from adapters.manifest import ASSUMED, RenderingIdentity
from adapters.registry import Registry
from adapters.version import Version
from base.loader import LoadedBase, LoadOptions, load
from base.rendering import Renderer, TemplateKind, create_renderer, stop_ids
from base.shapes import module_shapes
from base.source import BaseSource
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource, EngineConfig, GenerationRequest, SamplingParams
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a request is answered by."""

    model: str
    """Public name: the base's id, or the pinned `name:N`."""
    renderer: Renderer
    stop_ids: frozenset[int]
    version: Version | None
    """None: the base alone."""

    @property
    def source(self) -> AdapterSource | None:
        """What the engine loads."""
        return None if self.version is None else AdapterSource(self.version.digest, self.version.path)


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
        self.model_name = settings.served_model_name or base.name
        # Taken before the engine wraps the layers.
        self.facts = BaseFacts(name=base.name, digest=base.digest, linear_shapes=module_shapes(base.model))
        self.metrics = EngineMetrics(self.model_name)
        self._renderers: dict[TemplateKind, Renderer] = {}
        self._default_renderer = create_renderer(base.tokenizer)
        self.engine = Engine(
            base,
            EngineConfig(
                max_num_seqs=settings.max_num_seqs, max_waiting=settings.max_waiting, max_loras=settings.max_loras
            ),
            self.metrics,
        )

    @classmethod
    def open(cls, source: BaseSource, registry: Registry, settings: Settings) -> "Inference":
        """Loads the base and starts its engine."""
        options = LoadOptions(device=settings.device, dtype=settings.dtype, quantization=settings.quantization)
        return cls(load(source, options), registry, settings)

    def resolve(self, tenant: str, model: str | None) -> Target:
        """The base for None or its public name, else the adapter version that the reference means now.

        Raises:
            AdapterError: the reference is malformed or means nothing.
            BaseMismatchError: the version was made for another base.
        """
        if model is None or model == self.model_name:
            return self._target(self.model_name, self._default_renderer, None)
        version = self.registry.resolve(tenant, model)
        if version.base_digest not in (self.base.digest, ASSUMED):
            raise BaseMismatchError(
                expected=(self.base.digest, self.base.name), found=(version.base_digest, version.base_name)
            )
        rendering = version.manifest.rendering
        renderer = self._default_renderer if rendering is None else self._renderer(version, rendering)
        return self._target(str(version.reference), renderer, version)

    def request(self, target: Target, prompt_ids: Sequence[int], params: SamplingParams) -> GenerationRequest:
        """A generation by `target`."""
        return GenerationRequest(
            prompt_ids=tuple(prompt_ids), params=params, stop_ids=target.stop_ids, adapter=target.source
        )

    def render(self, target: Target, messages: Sequence[Mapping[str, object]]) -> list[int]:
        """The prompt's tokens, up to where the answer begins."""
        return target.renderer.prompt(messages)

    def close(self) -> None:
        """Ends the engine."""
        self.engine.close()

    def _target(self, model: str, renderer: Renderer, version: Version | None) -> Target:
        stops = stop_ids(self.base.model, renderer, self.base.tokenizer)
        return Target(model=model, renderer=renderer, stop_ids=stops, version=version)

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
