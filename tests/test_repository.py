"""The repository as a whole: names, packaging, documents."""

import importlib
import importlib.util
import re
import tomllib
from importlib.metadata import metadata, packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("storage", "base", "corpus", "adapters", "training", "evaluation", "service")
SOURCES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "k8s").glob("*.md")]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_importable_package_is_ours(package: str) -> None:
    # PyPI has another distribution called adapters; whoever imports ours must get ours.
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)
    assert set(packages_distributions().get(package, ["lorad"])) == {"lorad"}


def test_the_distribution_can_never_be_uploaded() -> None:
    assert "Private :: Do Not Upload" in metadata("lorad").get_all("Classifier", [])


def test_no_source_trusts_remote_code_or_unpickles() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, path
        assert not re.search(r"^\s*(import|from) pickle|torch\.load\(", text, re.MULTILINE), path


def test_every_constraint_admits_the_declared_floor() -> None:
    from packaging.requirements import Requirement

    pinned = dict(
        line.split(";")[0].strip().split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        names = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
        assert requirement.specifier.contains(names[requirement.name.lower()]), text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_reference_pages_are_what_the_code_says() -> None:
    reference = _load(ROOT / "docs" / "reference.py")
    for name, text in reference.pages().items():
        assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == text, f"{name}: make reference"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
