"""The keys that the settings name, for archives that leave and arrive."""

from adapters.errors import SigningKeyError
from adapters.signing import SigningKey, parse_trusted
from adapters.transfer import Trust
from service.settings import Settings


def signing_key(settings: Settings, *, required: bool) -> SigningKey | None:
    """The private key that archives are signed with.

    Raises:
        SigningKeyError: it is missing where one is required, given twice, or malformed.
    """
    if settings.signing_key is not None and settings.signing_key_file is not None:
        raise SigningKeyError("LORAD_SIGNING_KEY and LORAD_SIGNING_KEY_FILE are both set; set one")
    if settings.signing_key is not None:
        return SigningKey.parse(settings.signing_key.get_secret_value())
    if settings.signing_key_file is not None:
        try:
            return SigningKey.parse(settings.signing_key_file.read_text(encoding="ascii"))
        except (OSError, UnicodeError) as error:
            raise SigningKeyError(
                f"LORAD_SIGNING_KEY_FILE {settings.signing_key_file} cannot be read: {error}"
            ) from error
    if required:
        raise SigningKeyError(
            "there is no key to sign with: make a pair with lorad keys generate and set LORAD_SIGNING_KEY_FILE, or "
            "export without a signature by --allow-unsigned"
        )
    return None


def trust(settings: Settings, allow_unsigned: bool) -> Trust:
    """Whose archives are taken.

    Raises:
        SigningKeyError: `trusted_keys` is malformed.
    """
    return Trust(keys=parse_trusted(settings.trusted_keys), allow_unsigned=allow_unsigned)
