import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.base_facts import BaseFacts
from adapters.errors import InvalidAdapterError, SigningKeyError, UntrustedArchiveError
from adapters.publication import Submission, publish
from adapters.registry import Registry
from adapters.signing import PREFIX_BYTES, SigningKey, parse_trusted
from adapters.tags import set_tags
from adapters.transfer import Trust, export, received
from adapters.version import Change, Version

NOBODY = Change()


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def version(registry: Registry, variant: Callable[[int], Path], base: BaseFacts) -> Version:
    submission = Submission(
        tenant="t",
        name="support",
        folder=variant(0),
        source="train",
        metrics={"valid_loss": 1.5},
        lineage={"data": [{"digest": "sha256:x"}]},
        job_id="ftjob-1",
        change=Change(actor="ann", reason="first"),
    )
    publish(registry, submission, base)
    return set_tags(registry, "t", "support", 1, {"stage": "gold"}, NOBODY)


def exported(registry: Registry, key: SigningKey | None) -> bytes:
    file = io.BytesIO()
    export(registry, "t", "support", file, key)
    return file.getvalue()


def trust(key: SigningKey) -> Trust:
    return Trust(keys=parse_trusted(f"builder={key.public_text}"))


def taken(registry: Registry, archive: bytes, trust: Trust, base: BaseFacts, name: str | None = None) -> Version:
    with received(registry, io.BytesIO(archive), trust) as found:
        return publish(registry, found.submission("other", name, NOBODY), base)


def test_a_version_goes_over_with_all_that_is_known_of_it(
    registry: Registry, version: Version, base: BaseFacts, key: SigningKey
) -> None:
    arrived = taken(registry, exported(registry, key), trust(key), base)

    assert (arrived.tenant, arrived.name, arrived.digest) == ("other", "support", version.digest)
    assert (arrived.metrics, arrived.tags) == (version.metrics, {"stage": "gold"})
    origin = arrived.lineage["origin"]
    assert isinstance(origin, dict)
    assert (origin["number"], origin["job_id"], origin["signer"]) == (1, "ftjob-1", "builder")
    assert isinstance(origin["history"], list)
    assert [(event["kind"], event["actor"]) for event in origin["history"] if isinstance(event, dict)] == [
        ("publish", "ann"),
        ("tag", ""),
    ]
    assert arrived.lineage["data"] == [{"digest": "sha256:x"}]


@pytest.mark.usefixtures("version")
def test_the_same_version_gives_the_same_bytes_and_any_tar_reads_them(registry: Registry, key: SigningKey) -> None:
    archive = exported(registry, key)

    assert archive == exported(registry, key)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as read:
        assert read.getnames() == [
            f"support-1/{name}"
            for name in ("adapter_config.json", "adapter_model.safetensors", "lorad.json", "registry.json")
        ]


@pytest.mark.usefixtures("version")
def test_no_byte_of_a_signed_archive_can_be_changed(registry: Registry, key: SigningKey) -> None:
    archive = exported(registry, key)
    tested = {*range(PREFIX_BYTES), *range(PREFIX_BYTES, PREFIX_BYTES + 200), *range(0, len(archive), 97)}

    for index in sorted({*tested, len(archive) - 1}):
        changed = bytearray(archive)
        changed[index] ^= 1
        with (
            pytest.raises(UntrustedArchiveError),
            received(registry, io.BytesIO(bytes(changed)), trust(key)),
        ):
            pass
    for length in (0, 1, PREFIX_BYTES - 1, PREFIX_BYTES, len(archive) - 1):
        with pytest.raises(UntrustedArchiveError), received(registry, io.BytesIO(archive[:length]), trust(key)):
            pass
    with pytest.raises(UntrustedArchiveError), received(registry, io.BytesIO(archive + b"\0"), trust(key)):
        pass


@pytest.mark.usefixtures("version")
def test_what_is_unsigned_or_signed_by_a_stranger_is_refused_unless_allowed(
    registry: Registry, key: SigningKey, base: BaseFacts
) -> None:
    strangers = SigningKey.generate()

    with pytest.raises(UntrustedArchiveError, match=r"not signed.*--allow-unsigned"):
        taken(registry, exported(registry, None), trust(key), base)
    with pytest.raises(
        UntrustedArchiveError, match=f"unknown key {re.escape(strangers.public_text[:20])}.*trusted here: builder"
    ):
        taken(registry, exported(registry, strangers), trust(key), base)
    with pytest.raises(UntrustedArchiveError, match="trusted here: nobody"):
        taken(registry, exported(registry, key), Trust(), base)
    assert registry.adapters("other") == []

    allowed = Trust(keys=trust(key).keys, allow_unsigned=True)
    for sender in (None, strangers):
        arrived = taken(registry, exported(registry, sender), allowed, base, name="copy")
        assert arrived.lineage["origin"]["signer"] is None  # type: ignore[index, call-overload]


def test_a_record_of_other_files_is_refused(
    registry: Registry, version: Version, variant: Callable[[int], Path], base: BaseFacts, key: SigningKey
) -> None:
    publish(registry, Submission(tenant="t", name="support", folder=variant(1), source="train"), base)
    other = registry.resolve("t", "support:2")
    archive = exported(registry, key)
    for name in ("adapter_model.safetensors",):
        (other.path / name).write_bytes((version.path / name).read_bytes())

    with pytest.raises(InvalidAdapterError, match="written for other files"):
        taken(registry, exported(registry, key), trust(key), base)
    assert taken(registry, archive, trust(key), base).digest == other.digest


def test_a_key_is_read_as_it_was_written(key: SigningKey) -> None:
    again = SigningKey.parse(key.private_text + "\n")

    assert again.public_text == key.public_text
    with pytest.raises(SigningKeyError, match="lorad keys generate") as caught:
        SigningKey.parse(key.private_text[:-6])
    assert key.private_text[20:40] not in str(caught.value)
    with pytest.raises(SigningKeyError):
        SigningKey.parse(key.public_text)
    for text in ("builder", "Builder!=x", f"builder={key.private_text}"):
        with pytest.raises(SigningKeyError):
            parse_trusted(text)
    assert parse_trusted("") == {}
