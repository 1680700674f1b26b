from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from adapters.errors import BaseMismatchError, InvalidAdapterError, UnknownAdapterError
from adapters.manifest import BaseIdentity, Manifest, RenderingIdentity
from adapters.publication import Submission, publish
from base.rendering import create_renderer
from base.source import BaseSource
from service.engine.errors import InvalidAdaptersError
from service.engine.request import SamplingParams
from service.inference.inference import Inference
from service.inference.target import WeightedAdapter
from service.registry.opening import open_registry
from service.settings import Settings

QUESTION = [{"role": "user", "content": "hello"}]
OTHER_DIGEST = "sha256:" + "c" * 64


@pytest.fixture(scope="module")
def inference(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), device="cpu", kv_cache_memory_bytes=4 << 20)
    registry = open_registry(settings)
    opened = Inference.open(BaseSource("tiny", tiny_base_folder), registry, settings)
    yield opened
    opened.close()
    registry.database.dispose()


@pytest.fixture(scope="module")
def add(
    inference: Inference, make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., None]:
    """`add(name, kind=…, template=…)` publishes an adapter that says how it was trained."""

    def add_one(name: str, kind: Any = None, template: str | None = None, tenant: str = "default") -> None:
        folder = make_adapter(tmp_path_factory.mktemp("adapters") / name, seed=len(name))
        if kind is not None:
            text = template or create_renderer(inference.base.tokenizer, kind).identity.template
            identity = BaseIdentity(name=inference.base.name, digest=inference.base.digest)
            Manifest(base=identity, rendering=RenderingIdentity(kind=kind, template_text=text)).write(folder)
        publish(
            inference.registry,
            Submission(tenant=tenant, name=name, folder=folder, source="import"),
            inference.facts,
        )

    return add_one


def test_the_base_answers_to_none_and_to_its_public_name(inference: Inference) -> None:
    for model in (None, "tiny"):
        target = inference.resolve("default", model)
        assert (target.model, target.version, target.adapters) == ("tiny", None, ())
        assert target.renderer.identity.kind == "chat"


def test_an_adapter_answers_by_its_pinned_name(inference: Inference, add: Callable[..., None]) -> None:
    add("support")
    target = inference.resolve("default", "support")
    assert target.model == "support:1"
    assert target.version is not None
    [use] = target.adapters
    assert (use.source.digest, use.source.name, use.scale) == (target.version.digest, "support:1", 1.0)
    assert (use.source.folder / "adapter_model.safetensors").is_file()
    # It does not say how it was trained, so it renders as the base does.
    assert target.renderer.identity.kind == "chat"


def test_what_is_published_while_it_serves_is_served_at_once(inference: Inference, add: Callable[..., None]) -> None:
    with pytest.raises(UnknownAdapterError):
        inference.resolve("default", "later")
    add("later")
    assert inference.resolve("default", "later").model == "later:1"


def test_another_tenants_adapter_is_unknown(inference: Inference, add: Callable[..., None]) -> None:
    add("private")
    with pytest.raises(UnknownAdapterError):
        inference.resolve("stranger", "private")


def test_an_adapter_of_another_base_is_refused_with_both_digests(
    inference: Inference, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add("elsewhere", "chat")
    version = inference.registry.resolve("default", "elsewhere")
    foreign = replace(version, base_digest=OTHER_DIGEST, base_name="other-base")
    monkeypatch.setattr(inference.registry, "resolve", lambda *_: foreign)
    with pytest.raises(BaseMismatchError) as caught:
        inference.resolve("default", "elsewhere")
    for part in (OTHER_DIGEST, "other-base", inference.base.digest, "tiny"):
        assert part in str(caught.value)


def test_an_adapter_renders_as_it_was_trained(inference: Inference, add: Callable[..., None]) -> None:
    add("plainly", "plain")
    add("chatty", "chat")
    plain, chat = (inference.resolve("default", name) for name in ("plainly", "chatty"))
    tokenizer = inference.base.tokenizer
    assert tokenizer.decode(inference.render(plain, QUESTION)) == "### Instruction:\nhello\n\n### Response:\n"
    assert inference.render(chat, QUESTION) == inference.render(inference.resolve("default", None), QUESTION)
    # Each stops where its own template ends a turn.
    assert tokenizer.eos_token_id in plain.stop_ids
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in plain.stop_ids
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in chat.stop_ids


@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_a_template_that_is_not_the_bases_own_is_refused(
    inference: Inference, add: Callable[..., None], kind: str
) -> None:
    add(f"foreign-{kind}", kind, "{{ messages }} of another base")
    with pytest.raises(InvalidAdapterError, match=rf"foreign-{kind}:1 was trained with another {kind} template"):
        inference.resolve("default", f"foreign-{kind}")


def test_the_public_name_can_be_set(inference: Inference, tiny_base_folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, device="cpu", kv_cache_memory_bytes=4 << 20, served_model_name="house-model")
    other = Inference.open(BaseSource("tiny", tiny_base_folder), inference.registry, settings)
    assert other.resolve("default", "house-model").version is None
    other.close()


def test_gateways_read_how_many_adapters_fit(inference: Inference, tiny_base_folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, device="cpu", kv_cache_memory_bytes=4 << 20, max_loras=3)
    other = Inference.open(BaseSource("tiny", tiny_base_folder), inference.registry, settings)
    assert b'vllm:lora_requests_info{max_lora="3"' in generate_latest(other.metrics.registry)
    other.close()


def test_a_merge_names_every_version_and_its_weight(inference: Inference, add: Callable[..., None]) -> None:
    add("first")
    add("second-one")
    parts = (WeightedAdapter("first", 0.5), WeightedAdapter("second-one:1", -0.25))
    target = inference.resolve("default", parts)
    assert (target.model, target.version) == ("first:1*0.5+second-one:1*-0.25", None)
    assert {(use.source.name, use.scale) for use in target.adapters} == {("first:1", 0.5), ("second-one:1", -0.25)}
    # The engine's cache knows a set of adapters by their order.
    assert inference.resolve("default", parts[::-1]).adapters == target.adapters


def test_two_names_of_one_content_add_up(inference: Inference, add: Callable[..., None]) -> None:
    add("twofold")
    parts = (WeightedAdapter("twofold", 0.5), WeightedAdapter("twofold:1", 0.25))
    target = inference.resolve("default", parts)
    assert target.model == "twofold:1*0.75"
    assert [use.scale for use in target.adapters] == [0.75]


def test_adapters_of_different_templates_do_not_merge(inference: Inference, add: Callable[..., None]) -> None:
    add("plain-one", "plain")
    add("chat-one", "chat")
    with pytest.raises(InvalidAdaptersError, match="plain-one:1 and chat-one:1 were trained with different prompt"):
        inference.resolve("default", (WeightedAdapter("plain-one"), WeightedAdapter("chat-one")))


def test_the_base_has_nothing_to_weigh(inference: Inference) -> None:
    with pytest.raises(InvalidAdaptersError, match="'tiny' is the base"):
        inference.resolve("default", (WeightedAdapter("tiny", 0.5),))


def test_a_request_carries_its_tenant_and_its_time(inference: Inference, add: Callable[..., None]) -> None:
    add("of-acme", tenant="acme")
    target = inference.resolve("acme", "of-acme")
    request = inference.request(target, [5, 6], SamplingParams(max_tokens=3), 2.5)
    assert (request.tenant, request.timeout_seconds, request.prompt_ids) == ("acme", 2.5, (5, 6))
    # Names are unique within a tenant only.
    assert [use.source.name for use in request.adapters] == ["acme/of-acme:1"]
    assert inference.resolve("acme", None).tenant == "acme"


def test_without_adapters_only_the_base_answers(inference: Inference, tiny_base_folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, device="cpu", kv_cache_memory_bytes=4 << 20, max_loras=0)
    bare = Inference.open(BaseSource("tiny", tiny_base_folder), inference.registry, settings)
    assert bare.resolve("default", "tiny").adapters == ()
    with pytest.raises(InvalidAdaptersError, match=r"'support' is not the base 'tiny'.*--max-loras 0"):
        bare.resolve("default", "support")
    bare.close()
