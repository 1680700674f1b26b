from starlette.testclient import TestClient


def test_the_base_comes_first_then_adapters_with_parent_and_digest(client: TestClient) -> None:
    base, *adapters = client.get("/v1/models").json()["data"]
    assert (base["id"], base["parent"], base["max_model_len"]) == ("tiny", None, 256)
    assert [each["id"] for each in adapters] == ["a", "b"]
    for each in adapters:
        latest = client.get(f"/v1/adapters/{each['id']}").json()["latest"]
        assert (each["parent"], each["root"]) == ("tiny", latest["digest"])


def test_one_model_is_shown_by_any_reference(client: TestClient) -> None:
    assert client.get("/v1/models/tiny").json()["parent"] is None
    first, prod = client.get("/v1/models/a:1").json(), client.get("/v1/models/a@prod").json()
    assert first["root"] == prod["root"] != client.get("/v1/models/a").json()["root"]


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    for name in ("nobody", "some/hub-id", "UPPER"):
        response = client.get(f"/v1/models/{name}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
