"""The site that `make docs-site` makes of the documentation: it builds, and stands alone."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "reference/python/nats-config.html": "nats_config.read_config",
    "reference/python/bosh-interpolate.html": "bosh_interpolate.interpolate",
    "reference/python/nats-rotating-client.html": "nats_rotating_client.connect",
    "reference/python/rollover.html": "rollover.site.open_fleet",
    "reference/python/rollover-fleet.html": "rollover.fleet.plan.Plan",
    "reference/python/rollover-errors.html": "rollover.errors.RolloverError",
    "reference/python/rollover-ports.html": "rollover.engine.ports.Platform",
}
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser fetches by itself, by the attribute that says from where."""
SHOWN_WITHOUT_A_FILE = {"data", "mailto"}


class Page(HTMLParser):
    """What one page loads, where its links lead, and the places that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag in LOADED:
            self.loads.append(given.get(LOADED[tag]) or "")  # empty: a script in the page itself


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs-site` does it; a warning of Sphinx fails it."""
    made = tmp_path_factory.mktemp("site")
    command = (
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-d",
        made / "trees",
        "docs",
        made / "html",
    )
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return made / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site, by its path."""
    return {path: Page(path) for path in site.rglob("*.html")}


def test_the_site_has_a_page_for_each_page_of_the_documentation(site: Path) -> None:
    """Nothing is left out; the list of pages is the first page."""
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    wanted = {path.with_suffix(".html") for path in sources if "_build" not in path.parts}
    wanted.remove(Path("README.html"))
    assert Path("index.html") in wanted
    assert [path for path in wanted if not (site / path).is_file()] == []


def test_the_site_needs_no_network(site: Path, pages: dict[Path, Page]) -> None:
    """No page loads a script, a style, a font or a picture from elsewhere."""
    foreign = {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}
    assert foreign == set()
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text().replace("'", "").replace('"', ""), sheet.name


def test_the_site_says_nothing_of_the_machine_that_made_it(site: Path) -> None:
    """Neither where the sources lie there, nor what its environment holds."""
    for path in site.rglob("*.html"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path.name
    assert "environ({" not in (site / "reference/python/rollover.html").read_text(encoding="utf-8")


def test_links_of_the_site_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Every link leads to a file of the site, and to a place in it that is there."""
    lost = {
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not _leads_somewhere(link, path, pages)
    }
    assert sorted(lost) == []


def _leads_somewhere(link: str, path: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme in SHOWN_WITHOUT_A_FILE or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    anchor = unquote(parts.fragment)
    return target.is_file() and (not anchor or anchor in pages[target].anchors)


@pytest.mark.parametrize("page", LIBRARIES)
def test_the_site_has_the_reference_of_every_library(
    page: str, site: Path, pages: dict[Path, Page]
) -> None:
    """The reference is written from the docstrings, with a place for each name."""
    assert LIBRARIES[page] in pages[site / page].anchors


def test_the_site_can_be_searched_for_words_and_names(site: Path) -> None:
    """The index of the search knows what pages say, and the names of the libraries."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert (site / "search.html").is_file()
    assert '"open_fleet"' in index
    assert '"withdraw' in index


def test_links_out_of_the_documentation_show_the_file(site: Path, pages: dict[Path, Page]) -> None:
    """Where a page names a source file, the site has that file, whole, to be read."""
    page = site / "explanation" / "architecture.html"
    [link] = {link for link in pages[page].links if link.endswith("/search.py")}
    source = ROOT / "packages/rollover/src/rollover/planner/search.py"
    assert (page.parent / link).read_text() == source.read_text()
