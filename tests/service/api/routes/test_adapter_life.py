from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.base_facts import BaseFacts
from adapters.manifest import BaseIdentity, GoldenLogits, Manifest
from adapters.publication import Submission
from adapters.reference import Reference
from service.registry.opening import open_registry
from service.registry.publication import publish_bounded, publish_step
from tests.service.api.conftest import Running, RunServer, archive_of, error_of, running, upload


@pytest.fixture
def server(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    with run_server(max_loras=2, max_cpu_loras=2) as running:
        for name, archive in (("a", "a"), ("b", "b"), ("a", "b")):
            upload(running.client, name, archives[archive])
        yield running


def kinds(server: Running, name: str) -> list[str]:
    return [event["kind"] for event in server.client.get(f"/v1/adapters/{name}/history").json()["data"]]


def answer(server: Running, model: str) -> Any:
    return server.client.post("/v1/completions", json={"model": model, "prompt": "hello", "max_tokens": 2})


def test_an_alias_moves_only_from_where_the_caller_thinks_it_is(server: Running) -> None:
    client = server.client
    moves = [{"alias": "prod", "version": 1, "expected": 0}, {"alias": "canary", "version": 2}]
    moved = client.post("/v1/adapters/a/promote", json={"moves": moves, "reason": "first"})
    assert [version["id"] for version in moved.json()["data"]] == ["a:1", "a:2"]

    moves = [{"alias": "canary", "version": 1}, {"alias": "prod", "version": 2, "expected": 2}]
    refused = client.post("/v1/adapters/a/promote", json={"moves": moves})
    error = error_of(refused)
    assert (refused.status_code, error["code"], error["param"]) == (400, "alias_moved", "expected")
    assert "a@prod points to version 1, but version 2 was expected" in error["message"]
    assert client.get("/v1/adapters/a").json()["aliases"] == {"prod": 1, "canary": 2}

    assert client.put("/v1/adapters/a/aliases/prod", json={"version": 2, "expected": 1}).json()["number"] == 2
    assert kinds(server, "a") == ["set", "set", "set", "publish", "publish"]


def test_the_history_tells_who_why_and_what(server: Running) -> None:
    server.client.put("/v1/adapters/a/aliases/prod", json={"version": 2, "reason": "better"})
    page = server.client.get("/v1/adapters/a/history", params={"limit": 2}).json()
    moved, published = page["data"]

    assert (moved["actor"], moved["reason"], moved["alias"], moved["number"]) == ("default", "better", "prod", 2)
    assert published["details"]["digest"] == server.client.get("/v1/adapters/a/versions/2").json()["digest"]
    assert page["has_more"] is True
    older = server.client.get("/v1/adapters/a/history", params={"before": published["id"]}).json()
    assert [event["number"] for event in older["data"]] == [1]
    server.client.delete("/v1/adapters/a")
    assert kinds(server, "a")[:2] == ["remove", "delete"]
    assert server.client.get("/v1/adapters/nobody/history").status_code == 404


def test_adapters_are_found_by_tag_text_and_base(server: Running) -> None:
    client = server.client
    tagged = client.put("/v1/adapters/a/versions/1/tags/stage", json={"value": "Gold"})
    assert tagged.json()["tags"] == {"stage": "Gold"}

    def found(**query: Any) -> list[tuple[str, list[int]]]:
        response = client.get("/v1/adapters", params=query)
        assert response.status_code == 200, response.text
        return [(each["id"], each["matches"]) for each in response.json()["data"]]

    assert found(tag="stage=Gold") == found(tag="stage") == found(text="gold") == [("a", [1])]
    assert found(tag="stage=silver") == []
    assert found(base="tiny") == [("a", [2, 1]), ("b", [1])]
    assert found(text="b") == [("b", [1])]
    assert found(metric="valid_loss<1") == []
    assert (found(limit=1), found(after="a")) == ([("a", [2, 1])], [("b", [1])])
    assert client.get("/v1/adapters", params={"limit": 1}).json()["has_more"] is True
    assert client.delete("/v1/adapters/a/versions/1/tags/stage").json()["tags"] == {}
    assert found(tag="stage") == []


@pytest.mark.parametrize(
    ("query", "code"), [("metric=loss", "invalid_search"), ("metric=a<b", "invalid_search"), ("tags=x", None)]
)
def test_an_odd_search_is_refused(server: Running, query: str, code: str | None) -> None:
    response = server.client.get(f"/v1/adapters?{query}")
    assert response.status_code == 400
    assert code in (None, error_of(response)["code"])


def test_an_odd_tag_is_refused(server: Running) -> None:
    path = "/v1/adapters/a/versions/1/tags"
    assert server.client.put(f"{path}/UPPER", json={}).status_code == 400
    assert server.client.put(f"{path}/x", json={"value": "x" * 300}).status_code == 400
    assert error_of(server.client.put(f"{path}/x", json={"value": "a\x00"}))["code"] == "invalid_tag"
    for number in range(32):
        assert server.client.put(f"{path}/t{number}", json={}).status_code == 200
    full = server.client.put(f"{path}/one-more", json={})
    assert error_of(full)["code"] == "invalid_tag"
    assert "32" in error_of(full)["message"]


def test_a_pin_outlives_the_server(make_settings: Callable[..., Any], archives: dict[str, bytes]) -> None:
    settings = make_settings(max_loras=2, max_cpu_loras=2)
    with running(settings) as server:
        upload(server.client, "a", archives["a"])
        upload(server.client, "b", archives["b"])
        pinned = server.client.put("/v1/adapters/a/pin", json={})
        assert (pinned.json()["id"], pinned.json()["pinned"], pinned.json()["residency"]) == ("a:1", True, "device")
        refused = server.client.put("/v1/adapters/b/pin", json={})
        assert error_of(refused)["code"] == "too_many_pins"
        assert server.client.get("/v1/adapters/b").json()["latest"]["pinned"] is False
    with running(settings) as server:
        # Before any request: it was loaded when the server became ready.
        assert server.inference.engine.placement(pinned.json()["digest"]) == "device"
        assert server.client.delete("/v1/adapters/a/pin").json()["unpinned"] == ["a:1"]
        assert server.inference.engine.pinned() == []
    with running(settings) as server:
        assert server.inference.engine.placement(pinned.json()["digest"]) == "store"
        assert kinds(server, "a") == ["unpin", "pin", "publish"]


def test_a_pinned_adapter_that_is_damaged_keeps_no_server_from_starting(
    make_settings: Callable[..., Any], archives: dict[str, bytes]
) -> None:
    settings = make_settings(max_loras=2, max_cpu_loras=2)
    with running(settings) as server:
        upload(server.client, "a", archives["a"])
        server.client.put("/v1/adapters/a/pin", json={})
        path = server.inference.registry.resolve("default", "a").path
    (path / "adapter_model.safetensors").write_bytes(b"gone")
    with running(settings) as server:
        assert answer(server, "tiny").status_code == 200
        assert server.inference.engine.pinned() == []


def test_old_versions_go_unless_somebody_needs_them(
    run_server: RunServer, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    with run_server(keep_versions=2) as server:
        client = server.client

        def publish(seed: int) -> None:
            archive = archive_of(make_adapter(tmp_path / f"s{seed}", seed=seed))
            assert upload(client, "a", archive).status_code == 201

        def numbers() -> list[int]:
            return [each["number"] for each in client.get("/v1/adapters/a/versions").json()["data"]]

        publish(1)
        client.put("/v1/adapters/a/aliases/prod", json={"version": 1})
        publish(2)
        publish(3)
        publish(4)
        assert numbers() == [4, 3, 1]
        assert client.put("/v1/adapters/a/retention", json={"keep": 3}).json()["keep_versions"] == 3
        publish(5)
        assert numbers() == [5, 4, 3, 1]
        dry = client.post("/v1/adapters/a/prune", json={"keep": 1, "dry_run": True}).json()
        assert dry["deleted"] == ["a:4", "a:3"]
        assert numbers() == [5, 4, 3, 1]
        client.put("/v1/adapters/a/pin", json={"version": 3})
        assert client.post("/v1/adapters/a/prune", json={"keep": 1}).json()["deleted"] == ["a:4"]
        assert numbers() == [5, 3, 1]
        pruned = [event for event in client.get("/v1/adapters/a/history").json()["data"] if event["kind"] == "prune"]
        assert [(event["number"], event["actor"]) for event in pruned] == [(4, "default"), (2, "retention")]


def test_a_version_of_another_process_answers_the_next_request(
    server: Running, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    assert answer(server, "hot").status_code == 404
    other_process = open_registry(server.settings)
    folder = make_adapter(tmp_path / "hot", seed=7)
    submission = Submission(tenant="default", name="hot", folder=folder, source="train", job_id="ftjob-7")
    facts: BaseFacts = server.inference.facts
    published = publish_bounded(other_process, submission, facts, server.settings)
    assert published == publish_bounded(other_process, submission, facts, server.settings)

    assert answer(server, "hot").status_code == 200
    assert server.client.get("/v1/models/hot").json()["root"] == published.digest
    assert server.inference.engine.placement(published.digest) == "device"


def test_a_version_whose_golden_logits_are_not_its_own_never_answers(
    server: Running, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    folder, base = make_adapter(tmp_path / "odd", seed=7), server.inference.base
    golden = GoldenLogits(
        prompt_ids=(1, 2, 3), top_ids=(5, 6), top_logits=(99.0, 98.0), quantization="none", dtype="float32"
    )
    Manifest(base=BaseIdentity(name=base.name, digest=base.digest), golden=golden).write(folder)
    submission = Submission(tenant="default", name="odd", folder=folder, source="train")
    publish_bounded(open_registry(server.settings), submission, server.inference.facts, server.settings)

    response = answer(server, "odd")

    assert (response.status_code, error_of(response)["code"]) == (500, "adapter_load_failed")
    assert "golden" in error_of(response)["message"]


def test_a_checkpoint_answers_while_no_list_shows_it(
    server: Running, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    registry, facts = open_registry(server.settings), server.inference.facts

    def publish(job: str, step: int, seed: int) -> str:
        folder = make_adapter(tmp_path / f"{job}-{step}", seed=seed)
        submission = Submission(tenant="default", name="new", folder=folder, source="train", job_id=job)
        return str(publish_step(registry, submission, facts, server.settings, step).reference)

    assert publish("ftjob-1", 10, 3) == "new:ckpt-step-10"
    publish("ftjob-1", 20, 4)
    assert answer(server, "new:ckpt-step-10").status_code == 200
    chat = {"model": "new:ckpt-step-20", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    assert server.client.post("/v1/chat/completions", json=chat).status_code == 200
    assert answer(server, "new").status_code == 404
    assert "new" not in [each["id"] for each in server.client.get("/v1/models").json()["data"]]
    assert "new" not in [each["id"] for each in server.client.get("/v1/adapters").json()["data"]]
    assert server.client.get("/v1/adapters/new/versions").json()["data"] == []
    listed = server.client.get("/v1/adapters/new/versions", params={"checkpoints": True}).json()["data"]
    assert [each["id"] for each in listed] == ["new:ckpt-step-20", "new:ckpt-step-10"]

    publish("ftjob-2", 10, 5)
    gone = answer(server, "new:ckpt-step-20")
    assert (gone.status_code, error_of(gone)["code"]) == (404, "model_not_found")
    pruned = server.client.post("/v1/adapters/new/prune", json={"checkpoints": True}).json()
    assert pruned["deleted"] in (["new:ckpt-step-10"], [])
    assert registry.check_integrity() == []


def test_lineage_leads_back_through_what_training_began_with(
    server: Running, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    registry, facts = server.inference.registry, server.inference.facts
    parent = registry.resolve("default", "a:1")
    child = Submission(
        tenant="default",
        name="child",
        folder=make_adapter(tmp_path / "child", seed=8),
        source="train",
        job_id="ftjob-8",
        lineage={"data": [{"digest": "sha256:d"}], "init_from": "a:1", "init_digest": parent.digest},
    )
    middle = publish_bounded(registry, child, facts, server.settings)
    grandchild = Submission(
        tenant="default",
        name="grandchild",
        folder=make_adapter(tmp_path / "grandchild", seed=9),
        source="train",
        lineage={"init_from": "child", "init_digest": middle.digest},
    )
    publish_bounded(registry, grandchild, facts, server.settings)

    told = server.client.get("/v1/adapters/grandchild/versions/1/lineage").json()
    assert [(each["name"], each["id"], each["job_id"]) for each in told["ancestors"]] == [
        ("child", "child:1", "ftjob-8"),
        ("a:1", "a:1", None),
    ]
    assert server.client.get("/v1/adapters/child/versions/1/lineage").json()["data"] == [{"digest": "sha256:d"}]
    registry.delete("default", "child")
    told = server.client.get("/v1/adapters/grandchild/versions/1/lineage").json()
    assert [(each["name"], each["id"]) for each in told["ancestors"]] == [("child", None)]
    assert registry.resolve("default", Reference(name="a", number=1)).digest == parent.digest
