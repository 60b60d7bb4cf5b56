"""Looks at a console in headless Chromium and prints what it found as JSON.

Runs in an environment of its own that has Playwright and axe-core: `python browser.py CHROMIUM FACTS PICTURES`, where
FACTS is JSON with `url` (below which the console is), `operation_id`, `player` and `board`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, sync_playwright

WITHIN_MS = 60_000
ONLY_LOOPBACK = [
    "--no-sandbox",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
WIDTHS = {"desktop": 1280, "phone": 320}


def pages_of(facts: dict[str, str]) -> dict[str, str]:
    """Return the pages by the names of their pictures."""
    return {
        "now": "",
        "wallet": "/wallet?player=" + facts["player"],
        "operation": f"/wallet/operation/{facts['operation_id']}",
        "proof": f"/wallet/proof/{facts['operation_id']}",
        "attention": "/wallet/attention",
        "day": "/wallet/day",
        "events": "/events",
        "keys": "/keys",
        "boards": f"/boards?board={facts['board']}",
        "explain": f"/explain?id={facts['operation_id']}",
    }


def is_too_wide(page: Page) -> bool:
    """Whether a reader has to scroll the page sideways; a table may scroll inside its own frame."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def findings(page: Page) -> list[str]:
    """Return what axe-core finds that is serious or critical."""
    violations = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in violations]


def with_keyboard(page: Page, url: str, wanted: str) -> dict[str, Any]:
    """Go to an operation by its id, with the keyboard alone."""
    page.goto(url)
    page.keyboard.press("Tab")
    skip = page.evaluate("document.activeElement.textContent")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Wallet":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/wallet")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "id":
            break
    page.keyboard.type(wanted)
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/wallet/operation/**")
    return {"skip": skip, "opened": page.url}


def reloads(page: Page, url: str) -> bool:
    """Whether the board replaces its entries by itself, and stops when it is paused."""
    page.goto(url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/entries" in request.url else None)
    with page.expect_request("**/boards/entries?**"):
        pass
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(500)
    before = len(asked)
    page.wait_for_timeout(3000)
    return bool(before) and len(asked) == before


def look(context: BrowserContext, facts: dict[str, str], pictures: Path) -> dict[str, Any]:
    """Open every page, wide and narrow, light and dark, and take its picture."""
    page = context.new_page()
    page.set_default_timeout(WITHIN_MS)
    errors: list[str] = []
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
    url, too_wide = facts["url"], []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for form, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 900})
            for name, path in pages_of(facts).items():
                page.goto(url + path)
                too_wide += [f"{name} on a {form}"] if is_too_wide(page) else []
                page.screenshot(path=pictures / f"console-{name}-{form}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": WIDTHS["desktop"], "height": 900})
    keyboard = with_keyboard(page, url, facts["operation_id"])
    live = reloads(page, url + pages_of(facts)["boards"])
    return {"errors": errors, "requests": requests, "too_wide": too_wide, "reloads": live, **keyboard}


def checked_by_axe(context: BrowserContext, facts: dict[str, str]) -> list[str]:
    """Return what axe-core finds on each page, light and dark."""
    page, found = context.new_page(), []
    page.set_default_timeout(WITHIN_MS)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, path in pages_of(facts).items():
            page.goto(facts["url"] + path)
            found += [f"{name}, {scheme}: {one}" for one in findings(page)]
    return found


def main(chromium: str, facts: dict[str, str], pictures: Path) -> None:
    """Print what was found."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ONLY_LOOPBACK)
        found = look(browser.new_context(), facts, pictures)
        # axe-core runs in the page, which the console's content security policy does not allow.
        found["axe"] = checked_by_axe(browser.new_context(bypass_csp=True), facts)
        browser.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]))
