import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}


def test_the_dockerfile_copies_every_package() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [package for package in sorted(packages()) if f"COPY {package} {package}" not in lines] == []


def test_the_build_context_holds_every_package_and_the_files_the_build_reads() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert kept == packages() | {"LICENSE", "README.md", "pyproject.toml", "constraints.txt"}
