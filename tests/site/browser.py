"""Opens the built site from the disk in headless Chromium, as a reader without a network, and prints what happened.

Runs in an environment of its own that has Playwright: `python browser.py CHROMIUM SITE PICTURES`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WITHIN_MS = 60_000
NO_NETWORK = ["--no-sandbox", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]


def look(page: Page, site: Path, pictures: Path) -> dict[str, object]:
    """Open three pages, search, take their pictures. Returns what a reader finds."""
    page.goto((site / "docs/start.html").as_uri())
    page.locator(".tabbed-labels label", has_text="Go").first.click()
    page.get_by_text("go mod init").first.wait_for(state="visible")
    page.screenshot(path=pictures / "site-start.png")

    page.goto((site / "docs/how-it-works.html").as_uri())
    diagrams = page.locator(".diagram svg").count()
    page.screenshot(path=pictures / "site-how-it-works.png", full_page=True)

    page.goto((site / "docs/console.html").as_uri())
    shown = page.eval_on_selector_all("article img", "all => all.filter(one => one.naturalWidth > 0).length")

    page.goto((site / "index.html").as_uri())
    page.locator(".md-search__button").click()
    page.get_by_role("combobox").fill("event_id")
    page.get_by_role("option").first.wait_for(state="visible")
    results = [str(one.get_attribute("href")) for one in page.get_by_role("option").all()]
    page.screenshot(path=pictures / "site-search.png")
    page.get_by_role("option").first.click()
    page.wait_for_url("**/docs/**")
    return {"diagrams": diagrams, "shown": shown, "results": results, "opened": page.url}


def main(chromium: str, site: Path, pictures: Path) -> None:
    """Print requests, errors and what was found as JSON."""
    requests: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=NO_NETWORK)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(WITHIN_MS)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        found = look(page, site, pictures)
        browser.close()
    print(json.dumps({**found, "requests": requests, "errors": errors}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
