import pytest
from pydantic import ValidationError

from service.cli.options import settings
from service.errors import SettingsError
from service.settings import Settings


def test_host_memory_holds_at_least_what_the_device_does() -> None:
    assert Settings().num_cpu_loras == 64
    assert Settings(max_loras=100).num_cpu_loras == 100
    assert Settings(max_loras=2, max_cpu_loras=3).num_cpu_loras == 3
    with pytest.raises(ValidationError, match="max_cpu_loras is 8, less than the 16 of max_loras"):
        Settings(max_loras=16, max_cpu_loras=8)


def test_a_step_has_a_token_for_every_running_request() -> None:
    with pytest.raises(ValidationError, match="max_num_batched_tokens is 16, less than the 32"):
        Settings(max_num_batched_tokens=16, max_num_seqs=32)


def test_two_settings_that_do_not_go_together_are_told_in_one_line() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(max_loras=16, max_cpu_loras=8)
    assert str(caught.value).startswith("max_cpu_loras is 8, less than")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_loras", -1),
        ("max_num_batched_tokens", 0),
        ("kv_cache_memory_bytes", 1000),
        ("request_timeout", 0),
        ("request_timeout", float("inf")),
        ("enable_prefix_caching", "perhaps"),
    ],
)
def test_a_value_out_of_bounds_is_named(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"LORAD_{name.upper()} / --{name.replace('_', '-')}: "):
        settings(**{name: value})


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAD_MAX_LORAS", "0")
    monkeypatch.setenv("LORAD_ENABLE_PREFIX_CACHING", "false")
    monkeypatch.setenv("LORAD_REQUEST_TIMEOUT", "1.5")
    found = settings()
    assert (found.max_loras, found.enable_prefix_caching, found.request_timeout) == (0, False, 1.5)


def test_messages_without_a_signature_are_not_sent() -> None:
    with pytest.raises(ValidationError, match="webhook_url needs webhook_secret"):
        Settings(webhook_url="https://example.com/hook")


@pytest.mark.parametrize("name", ["judge_url", "webhook_url"])
def test_an_address_holds_no_password(name: str) -> None:
    given = {name: "https://ann:secret@example.com/v1", "judge_model": "m", "webhook_secret": "whsec_x"}
    if name == "webhook_url":
        del given["judge_model"]
    with pytest.raises(ValidationError, match=f"{name} holds a user or password"):
        Settings.model_validate(given)
