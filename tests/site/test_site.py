"""The documentation as a site: rules over pages, the navigation, and the built site in a browser without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chromium import look
from tests.deploy.document_lines import ROOT
from tests.pypi_programs import INSTALL_WITHIN_S
from tools.site.__main__ import BUILD_WITHIN_S, NotInstalled, build, loads_from_other_hosts
from tools.site.markdown import site_page
from tools.site.navigation import navigation, pages

LOOKS_WITHIN_S = 240
TITLES = {"docs/a.md": "About", "docs/b.md": "Bees", "deploy/README.md": "Deploy"}


def turned(text: str) -> str:
    """The site's text of docs/a.md."""
    return site_page(text, "docs/a.md", TITLES, lambda path: path in TITLES or path == "tools/x.py")


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("see [b.md](b.md#x)", "see [Bees](b.md#x)"),
        ("see [the other](b.md)", "see [the other](b.md)"),
        ("see [deploy](../deploy)", "see [deploy](../deploy/README.md)"),
        ("see [x.py](../tools/x.py)", "see `tools/x.py`"),
        ("see [this](../tools/x.py#y)", "see this (`tools/x.py`)"),
        ("see [here](#a), [there](https://example.org)", "see [here](#a), [there](https://example.org)"),
        ("as `[b.md](b.md)`", "as `[b.md](b.md)`"),
        ("```\n[b.md](b.md)\n```", "```\n[b.md](b.md)\n```"),
    ],
)
def test_links(link: str, shown: str) -> None:
    """Pages by their titles; files that are no pages by their names; code as it is."""
    assert turned(link) == f"{shown}\n"


def test_a_link_to_nothing_is_refused() -> None:
    """With both ends."""
    with pytest.raises(ValueError, match=r"docs/a\.md links to docs/gone\.md"):
        turned("[gone](gone.md)")


def test_tabs() -> None:
    """Headings of the group's first level become tabs; those in code do not, and deeper ones stay."""
    code = "```sh\n# a comment\n```"
    text = f"<!-- tabs -->\n\n### Go\n\n{code}\n\n#### Deeper\n\n### grpcurl\n\nx\n\n<!-- end of tabs -->\nafter"
    assert turned(text).split("\n") == [
        "", '=== "Go"', "", "    ```sh", "    # a comment", "    ```", "", "    #### Deeper", "",
        '=== "grpcurl"', "", "    x", "", "after", "",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="has no"):
        turned("<!-- tabs -->\n### Go")


def test_lists() -> None:
    """A list gets its empty line, and what is below an item is indented by four."""
    assert turned("a\n- b\n  - c\n- d\n\ne").split("\n") == ["a", "", "- b", "    - c", "- d", "", "e", ""]


def test_every_page_is_in_the_navigation_once() -> None:
    """Of docs/, and the pages of other folders that a reader needs."""
    listed = list(pages(navigation(ROOT)))
    written = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md") if path.name != "0000-template.md"}
    assert sorted(listed) == sorted(set(listed))
    assert written - set(listed) == set()
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("clients/*/README.md")} <= set(listed)


def test_loads_from_other_hosts_are_found(tmp_path: Path) -> None:
    """Scripts, styles, pictures and fonts; a link to another site is none."""
    (tmp_path / "a.html").write_text(
        '<a href="https://example.org">x</a><script src="assets/x.js"></script>'
        '<script async src="https://one.example/x.js"></script><link rel=stylesheet href=//two.example/x.css>'
    )
    (tmp_path / "a.css").write_text("a{background:url(https://three.example/x.png)} @import '//four.example/x.css';")
    found = [one.partition("//")[2].partition("/")[0] for one in loads_from_other_hosts(tmp_path)]
    assert found == ["three.example", "four.example", "one.example", "two.example"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    try:
        build(folder / "site", folder / "work")
    except NotInstalled as reason:
        pytest.skip(str(reason))
    return folder / "site"


@pytest.mark.faults
@pytest.mark.timeout(BUILD_WITHIN_S + 2 * INSTALL_WITHIN_S + LOOKS_WITHIN_S)
def test_a_reader_without_a_network(built: Path) -> None:
    """Opened from the disk: tabs, pictures and search work; nothing is asked of any host, and no error is logged."""
    pictures = ROOT / "build"
    pictures.mkdir(exist_ok=True)
    for earlier in pictures.glob("site-*.png"):
        earlier.unlink()
    found = look(Path(__file__).with_name("browser.py"), built, pictures, within_s=LOOKS_WITHIN_S)
    assert found["errors"] == []
    assert [url for url in found["requests"] if not url.startswith(built.as_uri())] == []
    text = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    assert found["diagrams"] == len(re.findall("^```mermaid", text, re.MULTILINE))
    assert found["shown"] == len(list((ROOT / "docs" / "images").glob("*.png")))
    assert any("docs/api.html?h=event_id#event" in url for url in found["results"])
    assert found["opened"] == found["results"][0]
    taken = [path.name for path in pictures.glob("site-*.png") if path.stat().st_size > 20_000]
    assert sorted(taken) == ["site-how-it-works.png", "site-search.png", "site-start.png"]
