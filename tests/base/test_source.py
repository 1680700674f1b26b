from pathlib import Path

import pytest

from base.errors import InvalidBaseError, UnknownBaseError
from base.source import locate


def quiet(line: str) -> None:
    del line


def test_a_folder_goes_by_its_own_name(tiny_base_folder: Path, tmp_path: Path) -> None:
    source = locate(str(tiny_base_folder), tmp_path, quiet)
    assert (source.name, source.folder) == ("tiny", tiny_base_folder)


def test_a_relative_folder_is_made_absolute(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert locate(".", tmp_path, quiet).folder == folder.resolve()


def test_a_catalogue_base_on_disk_is_not_fetched(folder: Path) -> None:
    folder.rename(folder.with_name("smollm2-135m-instruct"))
    source = locate("smollm2-135m-instruct", folder.parent, quiet)
    assert source.folder == folder.with_name("smollm2-135m-instruct")


def test_an_unknown_name_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseError, match=r"no base 'smollm2-135m'.*did you mean smollm2-135m-instruct\?"):
        locate("smollm2-135m", tmp_path, quiet)


def test_a_name_like_nothing_gets_no_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseError) as caught:
        locate("zzzz", tmp_path, quiet)
    assert "did you mean" not in str(caught.value)


def test_a_base_under_terms_of_use_is_not_fetched_unasked(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseError, match=r"Gemma terms.*lorad base fetch gemma-3-270m"):
        locate("gemma-3-270m", tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_fetched_where_the_caller_forbids_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseError, match="lorad base fetch smollm2-135m-instruct"):
        locate("smollm2-135m-instruct", tmp_path, quiet, fetch_missing=False)


def test_pickled_weights_are_refused_by_what_they_are(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidBaseError, match="pickled weights are code"):
        locate(str(folder), tmp_path, quiet)


def test_a_folder_without_a_configuration_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(InvalidBaseError, match=r"config\.json"):
        locate(str(tmp_path), tmp_path, quiet)


def test_a_hub_id_that_cannot_be_had_offline_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseError, match="not in the local hub cache"):
        locate("lorad-tests/no-such-model", tmp_path, quiet)
