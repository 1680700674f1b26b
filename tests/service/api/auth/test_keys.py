import pytest

from service.api.auth.keys import SCOPES, Keys, Principal
from service.errors import SettingsError


def test_a_key_belongs_to_its_tenant_with_every_scope() -> None:
    keys = Keys.parse("acme=k1, globex=k2,")
    assert keys.principal("k1") == Principal("acme", SCOPES)
    assert keys.principal("k2") == Principal("globex", SCOPES)
    assert keys.principal("k3") is None
    assert keys.principal("") is None


def test_a_key_may_have_one_scope() -> None:
    keys = Keys.parse("acme:infer=reader,acme:train=writer")
    assert keys.principal("reader") == Principal("acme", frozenset({"infer"}))
    assert keys.principal("writer") == Principal("acme", frozenset({"train"}))


def test_a_key_may_hold_an_equals_sign_and_any_letter() -> None:
    assert Keys.parse("acme=a=b==").principal("a=b==") is not None
    assert Keys.parse("acme=schlüssel").principal("schlüssel") is not None
    assert Keys.parse("acme=k").principal("\udcff") is None


def test_no_entry_means_no_keys() -> None:
    assert not Keys.parse("")
    assert not Keys.parse(" , ")


@pytest.mark.parametrize(
    "text", ["secret", "acme=", "=secret", "Acme Inc=secret", "acme:infr=secret", "acme:=secret", "a=secret,b=secret"]
)
def test_a_malformed_entry_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(SettingsError, match="LORAD_API_KEYS") as refused:
        Keys.parse(text)
    assert "secret" not in str(refused.value)


def test_a_mistyped_scope_is_told_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="did you mean infer"):
        Keys.parse("acme:infr=k")
