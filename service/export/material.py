"""What an export is made from: an adapter folder that was checked against a base, and that base's stored weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adapters.base_facts import BaseFacts
from adapters.digest import adapter_digest
from adapters.merge import MergedWeights
from adapters.validation import CheckedAdapter, validate
from adapters.weights import LoraWeights, load_weights
from base.digest import base_digest
from base.rendering import TemplateChoice
from base.shapes import linear_shapes
from base.source import BaseSource
from base.stored import StoredWeights


@dataclass(frozen=True, kw_only=True)
class Material:
    """An adapter and its base, ready to be joined."""

    label: str
    """The adapter's pinned reference, or its folder's name."""
    adapter_digest: str
    source: BaseSource
    facts: BaseFacts
    checked: CheckedAdapter
    weights: Mapping[str, LoraWeights]
    merged: MergedWeights

    @property
    def template(self) -> TemplateChoice:
        """How its prompts were rendered in training: `chat`, `plain`, or `auto` where the manifest does not say."""
        rendering = self.checked.manifest.rendering
        return "auto" if rendering is None else rendering.kind

    @property
    def provenance(self) -> dict[str, str]:
        """Where the export comes from."""
        return {
            "adapter": self.label,
            "adapter_digest": self.adapter_digest,
            "base": self.facts.name,
            "base_digest": self.facts.digest,
        }


def open_material(folder: Path, label: str, source: BaseSource) -> Material:
    """Check the adapter in `folder`, as the registry gives it out, against the base in `source`; read its weights.

    Raises:
        AdapterError: the folder is malformed, was made for another base, or cannot be merged into this one.
        BaseModelError: the base cannot be read.
    """
    facts = BaseFacts(name=source.name, digest=base_digest(source.folder), linear_shapes=linear_shapes(source.folder))
    checked = validate(folder, facts)
    weights = load_weights(folder, checked.config)
    return Material(
        label=label,
        adapter_digest=adapter_digest(folder),
        source=source,
        facts=facts,
        checked=checked,
        weights=weights,
        merged=MergedWeights(StoredWeights(source.folder), weights, checked.config),
    )
