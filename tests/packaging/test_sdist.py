"""The source distribution holds all of the repository, and README is right without it."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = re.compile(r"training/.*\.safetensors")
PAGES = ("*.md", "*/*.md", "docs/**/*.md", "models/**/*.md")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is in the source distribution, by path."""
    folder = tmp_path_factory.mktemp("sdist")
    build: list[str | Path] = [sys.executable, "-m", "build", "--sdist", "--no-isolation"]
    subprocess.run([*build, "-o", folder, ROOT], check=True, capture_output=True)
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {file.name.partition("/")[2]: read(archive, file) for file in files}


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None
    return stream.read()


def test_it_holds_every_file_of_the_repository(sdist: dict[str, bytes]) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    tracked = {name for name in listing.split("\0") if name and (ROOT / name).exists()}
    assert len(tracked) > 300
    missing = {name for name in tracked - set(sdist) if not LEFT_OUT.fullmatch(name)}
    assert missing == set()


def test_an_index_takes_it(sdist: dict[str, bytes]) -> None:
    assert sum(map(len, sdist.values())) < 100e6


def test_the_index_page_has_no_link_into_the_repository(sdist: dict[str, bytes]) -> None:
    page = sdist["PKG-INFO"].decode().partition("\n\n")[2]
    assert "# bigcodec" in page and "`docs/cli.md`" in page
    targets = re.findall(r"\]\(([^)\s]+)", page)
    assert targets and all(target.startswith(("https://", "#")) for target in targets)


def test_links_lead_to_files_that_are_there() -> None:
    pages = [page for pattern in PAGES for page in ROOT.glob(pattern)]
    links = {
        (page.relative_to(ROOT), target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not target.startswith(("https://", "http://"))
    }
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link[0].parent / link[1]).exists()] == []


def test_the_index_of_the_documentation_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert len(pages) >= 8 and pages <= set(re.findall(r"\]\(([^)]+)\)", index))


def test_readme_warns_of_the_package_of_somebody_else(sdist: dict[str, bytes]) -> None:
    page = sdist["PKG-INFO"].decode()
    section = page.partition("\n## Install\n")[2].partition("\n## ")[0]
    assert "`bigcodec` on PyPI is somebody else's" in " ".join(section.split())
