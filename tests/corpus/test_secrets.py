import pytest

from corpus.secrets import entropy_bits, find_emails, find_secrets, hide_secrets

# Put together here, so that no scanner of this repository takes them for real.
REAL = {
    "AWS access key": "AKIA" + "IOSFODNN7QRSTUVW",
    "GitHub token": "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cD1fG3iL5",
    "Google API key": "AIza" + "SyD3x_8kLmN0pQrStUvWxYz1234567890AB",
    "Stripe key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "Hugging Face token": "hf_" + "abcdefGHIJKLmnopqrSTUVWXyzABCDEfgh",
    "API key": "sk-proj-" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8",
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
    "password in a URL": "postgres://admin:hunter2x@db.internal/prod",
    "payment card number": "4539 1488 0343 6467",
    "assigned secret": 'api_key = "x9K2mQ7vL4pR8wT1"',
}


@pytest.mark.parametrize("kind", list(REAL))
def test_a_secret_is_found_and_never_written_whole(kind: str) -> None:
    found = list(find_secrets(f"please use {REAL[kind]} for it"))
    assert [secret.kind for secret in found] == [kind]
    longest_word = max(REAL[kind].replace('"', " ").split(), key=len)
    assert longest_word not in found[0].masked
    assert "…" in found[0].masked


@pytest.mark.parametrize(
    "text",
    [
        "lamini.api_key = '<YOUR-KEY-HERE>'",
        "password: ********",
        "api_key=os.environ['KEY']",
        "secret = please-change-me",
        "sk-your-api-key-goes-here-please",
        "the order number is 1234567890123456",
        "call 4539148803436468 for help",  # A digit off: Luhn's check fails.
        "see https://example.com:8080/path@2",
        "AKIA is the prefix of access keys",
    ],
)
def test_placeholders_and_plain_numbers_are_no_secrets(text: str) -> None:
    assert list(find_secrets(text)) == []


def test_email_addresses_are_masked_and_reserved_domains_left_out() -> None:
    text = "write to jane.doe@acme.co.uk, not to name@example.com, x@mail.example.org or a@b.test"
    assert [address.masked for address in find_emails(text)] == ["j…@acme.co.uk"]


@pytest.mark.parametrize("kind", list(REAL))
def test_a_text_is_shown_with_its_secrets_hidden(kind: str) -> None:
    text = f"jane@acme.io says: {REAL[kind]}!"
    hidden = hide_secrets(text)
    assert hidden.startswith("j…@acme.io says: ")
    assert hidden.count("…") == 2
    assert list(find_secrets(hidden)) == []


def test_a_text_without_secrets_is_shown_as_it_is() -> None:
    assert hide_secrets("nothing to hide at 12:30") == "nothing to hide at 12:30"


def test_entropy_is_in_bits_a_character() -> None:
    assert entropy_bits("") == 0
    assert entropy_bits("aaaa") == 0
    assert entropy_bits("abcd") == pytest.approx(2)
