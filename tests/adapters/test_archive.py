import contextlib
import gzip
import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.archive import ArchiveLimits, pack, unpack
from adapters.base_facts import BaseFacts
from adapters.errors import InvalidAdapterError
from adapters.files import ADAPTER_FILES
from adapters.publication import Submission, publish
from adapters.registry import Registry

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights" * 100, "lorad.json": b'{"a": 1}'}
HOSTILE = [
    "/adapter_config.json", "../adapter_config.json", "a/../../adapter_config.json", "a\\..\\adapter_config.json",
    "C:/adapter_config.json", "C:adapter_config.json", "//host/adapter_config.json", "a/..", "..", "a\nb", "a\x7f/b",
    "./../lorad.json", "/etc/passwd", "~/../x", "x" * 2000,
]  # fmt: skip


def make_zip(files: Mapping[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file


def make_tar(files: Mapping[str, bytes], *entries: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=form) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            # A fraction of a second makes Python write an extended header, as it does for real files.
            entry.mtime = 1.5
            archive.addfile(entry, io.BytesIO(content))
        for entry in entries:
            archive.addfile(entry)
    return file


MAKERS = pytest.mark.parametrize("make", [make_zip, make_tar])
Make = Callable[[Mapping[str, bytes]], io.BytesIO]


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "staged"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path: Path) -> Iterator[None]:
    yield
    for path in tmp_path.rglob("*"):
        inside = path.relative_to(tmp_path).parts
        assert inside in {("outer",), ("outer", "staged")} or inside[-1] in ADAPTER_FILES or inside[0] != "outer"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_folder(folder: str) -> dict[str, bytes]:
    return {f"{folder}{name}": content for name, content in FILES.items()}


@MAKERS
@pytest.mark.parametrize("folder", ["", "adapter/", "./", "./adapter/"])
def test_one_folder_or_plain_files_are_unpacked(staged: Path, make: Make, folder: str) -> None:
    unpack(make(in_folder(folder)), staged)

    assert contents(staged) == FILES


@MAKERS
def test_everything_else_is_skipped(staged: Path, make: Make) -> None:
    others = dict.fromkeys(("a/README.md", "a/tokenizer.json", "a/checkpoints/lorad.json", "__MACOSX/._x"), b"x" * 3000)

    unpack(make({**others, **in_folder("a/"), "a/adapter_model.bin": b"pickle"}), staged)

    assert contents(staged) == FILES


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_common_tar_format_is_read(staged: Path, form: int) -> None:
    folder = "f" * 90 + "/" if form == tarfile.USTAR_FORMAT else "lé" * 80 + "/"

    unpack(make_tar(in_folder(folder), form=form), staged)

    assert contents(staged) == FILES


def test_a_tar_with_folders_in_it_is_read(staged: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(source, "source")

    unpack(file, staged)

    assert contents(staged) == FILES


@MAKERS
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused(staged: Path, make: Make, name: str) -> None:
    with pytest.raises(InvalidAdapterError, match=r"the archive holds (the|a) name"):
        unpack(make({name: b"x", **FILES}), staged)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
@pytest.mark.parametrize("name", ["lorad.json", "other"])
def test_links_and_devices_in_a_tar_are_refused(staged: Path, kind: bytes, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = "/etc/passwd"

    with pytest.raises(InvalidAdapterError, match="link, a device or a sparse file"):
        unpack(make_tar({}, entry), staged)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(staged: Path, kind: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        member = zipfile.ZipInfo("lorad.json")
        member.external_attr = (kind | 0o777) << 16
        archive.writestr(member, "/etc/passwd")

    with pytest.raises(InvalidAdapterError, match="is a link or a device"):
        unpack(file, staged)


@MAKERS
def test_a_file_in_two_places_is_refused(staged: Path, make: Make) -> None:
    with pytest.raises(InvalidAdapterError, match="more than once"):
        unpack(make({**in_folder("a/"), "b/lorad.json": b"{}"}), staged)


@MAKERS
def test_files_in_two_folders_are_refused(staged: Path, make: Make) -> None:
    with pytest.raises(InvalidAdapterError, match="in another folder than the rest"):
        unpack(make({"a/adapter_config.json": b"{}", "b/lorad.json": b"{}"}), staged)


@MAKERS
def test_a_missing_file_is_named(staged: Path, make: Make) -> None:
    with pytest.raises(InvalidAdapterError, match=r"no adapter_model\.safetensors.*pickle and never read"):
        unpack(make({"adapter_config.json": b"{}", "adapter_model.bin": b"x"}), staged)


@MAKERS
def test_a_bomb_is_stopped_by_its_ratio(staged: Path, make: Make) -> None:
    limits = ArchiveLimits(ratio=10, free_bytes=100_000)

    with pytest.raises(InvalidAdapterError, match="unpacks to more than"):
        unpack(make({**FILES, "adapter_model.safetensors": bytes(3_000_000)}), staged, limits)


def test_a_bomb_among_the_skipped_files_of_a_tar_is_stopped(staged: Path) -> None:
    with pytest.raises(InvalidAdapterError, match="unpacks to more than 50000 bytes"):
        unpack(make_tar({"zeros": bytes(3_000_000), **FILES}), staged, ArchiveLimits(unpacked_bytes=50_000))


@MAKERS
def test_a_file_over_its_own_limit_is_refused(staged: Path, make: Make) -> None:
    content = random.Random(0).randbytes(1 << 20) + b"x"

    with pytest.raises(InvalidAdapterError, match=r"adapter_config\.json in the archive has more than 1048576 bytes"):
        unpack(make({"adapter_config.json": content}), staged)


@MAKERS
def test_too_many_entries_are_refused(staged: Path, make: Make) -> None:
    with pytest.raises(InvalidAdapterError, match="more than 20 entries"):
        unpack(make({f"f{n}": b"" for n in range(30)}), staged, ArchiveLimits(entries=20))


def test_a_zips_large_directory_is_refused_before_it_is_parsed(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_zip({f"f{n}": b"" for n in range(200)})
    monkeypatch.setattr(zipfile, "ZipFile", None)

    with pytest.raises(InvalidAdapterError, match=r"directory of .* too large for 2 entries"):
        unpack(file, staged, ArchiveLimits(entries=2))


def test_a_zip64_is_refused(staged: Path) -> None:
    file = make_zip(FILES)
    data = file.getvalue()
    end = data.rfind(b"PK\x05\x06")

    with pytest.raises(InvalidAdapterError, match="zip64"):
        unpack(io.BytesIO(data[:end] + b"PK\x06\x07" + bytes(16) + data[end:]), staged)


@pytest.mark.parametrize(("offset", "value", "message"), [(6, 1, "encrypted"), (8, 14, "packed by method 14")])
def test_an_encrypted_or_oddly_packed_zip_is_refused(staged: Path, offset: int, value: int, message: str) -> None:
    data = bytearray(make_zip(FILES).getvalue())
    data[data.find(b"PK\x01\x02") + offset + 2] = value

    with pytest.raises(InvalidAdapterError, match=message):
        unpack(io.BytesIO(data), staged)


def test_an_extended_header_of_any_length_is_not_read(staged: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type = tarfile.XHDTYPE
    entry.size = 1 << 30
    data = gzip.compress(entry.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20))

    with pytest.raises(InvalidAdapterError, match="1073741824 bytes, more than the limit of 65536"):
        unpack(io.BytesIO(data), staged)


@pytest.mark.parametrize(
    ("record", "message"),
    [(b"11 size=10\n", "sets size"), (b"22 GNU.sparse.major=1\n", "sets GNU.sparse.major"), (b"x", "malformed"),
     (b"999 path=a\n", "malformed"), (b"3 a\n", "malformed")],
)  # fmt: skip
def test_an_extended_header_that_changes_the_reading_is_refused(staged: Path, record: bytes, message: str) -> None:
    entry = tarfile.TarInfo("x")
    entry.type = tarfile.XHDTYPE
    entry.size = len(record)
    data = gzip.compress(entry.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + bytes(1024))

    with pytest.raises(InvalidAdapterError, match=message):
        unpack(io.BytesIO(data), staged)


@pytest.mark.parametrize("data", [b"", b"PK", b"7z\xbc\xaf", b"\x80\x04pickle", b"{}", b"\x1f\x8b", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(staged: Path, data: bytes) -> None:
    with pytest.raises(InvalidAdapterError):
        unpack(io.BytesIO(data), staged)


def test_an_archive_over_the_limit_is_refused_unread(staged: Path) -> None:
    with pytest.raises(InvalidAdapterError, match="more than the limit of 100"):
        unpack(make_zip(FILES), staged, ArchiveLimits(archive_bytes=100))


@MAKERS
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, make: Make) -> None:
    data = make(FILES).getvalue()
    for number, end in enumerate(range(0, len(data), 23)):
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        with pytest.raises(InvalidAdapterError):
            unpack(io.BytesIO(data[:end]), folder)


def test_an_entry_without_a_name_is_skipped(staged: Path) -> None:
    unpack(make_zip({"": b"nameless", **FILES}), staged)

    assert contents(staged) == FILES


NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(min_size=1, max_size=40).filter(lambda name: name.isprintable()),
    st.lists(
        st.sampled_from(["..", ".", "a", "lorad.json", "", "~", "C:", "\\", "\u202e", "%2e", "\uff0e"]),
        min_size=1,
    )
    .map("/".join)
    .filter(bool),
)


@settings(max_examples=200)
@given(st.lists(NAMES, max_size=4), st.sampled_from([make_zip, make_tar]))
def test_no_name_writes_outside(tmp_path_factory: pytest.TempPathFactory, names: list[str], make: Make) -> None:
    outer = tmp_path_factory.mktemp("names")
    folder = outer / "a" / "b"
    folder.mkdir(parents=True)
    files = {**dict.fromkeys(names, b"hostile"), **FILES}
    with contextlib.suppress(InvalidAdapterError):
        unpack(make(files), folder)

    written = {path for path in outer.rglob("*") if path.is_file() or path.is_symlink()}
    assert written <= {folder / name for name in ADAPTER_FILES}


@settings(max_examples=400)
@given(st.integers(0, 1 << 32), st.sampled_from(["zip", "tar", "gzip"]))
def test_a_mutant_archive_is_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str
) -> None:
    choice = random.Random(seed)
    plain = make_zip(FILES).getvalue() if kind == "zip" else make_tar(FILES).getvalue()
    data = bytearray(gzip.decompress(plain) if kind == "tar" else plain)
    for _ in range(choice.randint(1, 6)):
        data[choice.randrange(len(data))] = choice.choice([0, 1, 0x7F, 0xFF, choice.randrange(256)])
    folder = tmp_path_factory.mktemp("mutant")
    try:
        unpack(io.BytesIO(gzip.compress(bytes(data), 1) if kind == "tar" else bytes(data)), folder)
    except InvalidAdapterError:
        return
    assert set(contents(folder)) >= {"adapter_config.json", "adapter_model.safetensors"}


def test_a_full_disk_is_not_blamed_on_the_archive(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_path: Path, _mode: str) -> io.BytesIO:
        class Full(io.BytesIO):
            def write(self, _data: object) -> int:
                raise OSError(28, "No space left on device")

        return Full()

    monkeypatch.setattr(Path, "open", no_space)
    for make in (make_zip, make_tar):
        with pytest.raises(OSError, match="No space left"):
            unpack(make(FILES), staged)


def test_a_packed_version_is_the_same_bytes_each_time_and_can_be_unpacked(
    registry: Registry, folder: Path, base: BaseFacts, staged: Path
) -> None:
    version = publish(registry, Submission(tenant="t", name="support", folder=folder, source="import"), base)
    first, second = io.BytesIO(), io.BytesIO()

    pack(version, first)
    (version.path / "lorad.json").touch()
    pack(version, second)

    assert first.getvalue() == second.getvalue()
    first.seek(0)
    with tarfile.open(fileobj=first) as archive:
        assert archive.getnames() == [f"support-1/{name}" for name in sorted(ADAPTER_FILES)]
    unpack(first, staged)
    assert contents(staged) == contents(version.path)
    again = Submission(tenant="t", name="support", folder=staged, source="import")
    assert publish(registry, again, base) == version
