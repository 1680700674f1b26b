import json
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import InvalidAdapterError
from adapters.manifest import BaseIdentity, DataIdentity, GoldenLogits, Manifest, RenderingIdentity

DIGEST = "sha256:" + "a" * 64
FULL = Manifest(
    base=BaseIdentity(name="tiny", digest=DIGEST),
    rendering=RenderingIdentity(kind="chat", template_text="{{ x }}", default_system="Hi", end_of_turn_ids=(2,)),
    golden=GoldenLogits(
        prompt_ids=(1, 2), top_ids=(3, 4), top_logits=(1.5, -0.25), quantization="nf4", dtype="float32"
    ),
    data=DataIdentity(digest=DIGEST, rows=10, test_digest=DIGEST, test_rows=2),
    training={"epochs": 1, "nested": {"list": [1, None, True, "é"]}},
    metrics={"valid_loss": 1.25},
    versions={"torch": "2.13"},
)


def test_a_manifest_survives_being_written_and_read(tmp_path: Path) -> None:
    FULL.write(tmp_path)

    assert Manifest.read(tmp_path) == FULL


def test_the_bytes_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    for name, training in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        (tmp_path / name).mkdir()
        FULL.model_copy(update={"training": training}).write(tmp_path / name)

    written = (tmp_path / "a" / "lorad.json").read_bytes()
    assert written == (tmp_path / "b" / "lorad.json").read_bytes()
    assert written.endswith(b"}\n")
    assert b" " not in written.replace(b"{{ x }}", b"")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"format": 2}, "format"),
        ({"base": {"name": "tiny", "digest": "md5:1"}}, "base.digest"),
        ({"base": {"name": "", "digest": DIGEST}}, "base.name"),
        ({"base": {"name": "a\x00b", "digest": DIGEST}}, "base.name"),
        ({"rendering": {"kind": "jinja", "template_text": ""}}, "rendering.kind"),
        (
            {"golden": {"prompt_ids": [-1], "top_ids": [], "top_logits": [], "quantization": "none", "dtype": "x"}},
            "golden",
        ),
        ({"data": {"digest": DIGEST, "rows": -1}}, "data.rows"),
        ({"metrics": {"loss": "low"}}, "metrics.loss"),
        ({"training": []}, "training"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "lorad.json").write_text(json.dumps({**FULL.model_dump(mode="json"), **changes}))

    with pytest.raises(InvalidAdapterError, match=rf"lorad\.json: {message}"):
        Manifest.read(tmp_path)


def test_a_large_manifest_is_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidAdapterError, match="the limit is 1048576"):
        FULL.model_copy(update={"training": {"x": "x" * (1 << 20)}}).write(tmp_path)
    assert not (tmp_path / "lorad.json").exists()

    (tmp_path / "lorad.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(InvalidAdapterError, match="more than the limit of 1048576"):
        Manifest.read(tmp_path)


def test_a_number_that_json_lacks_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidAdapterError, match=r"lorad\.json"):
        FULL.model_copy(update={"training": {"x": float("nan")}}).write(tmp_path)
