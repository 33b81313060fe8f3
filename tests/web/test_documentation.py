"""The documentation page needs nothing from the internet: every reference is to this service, so says the policy."""

import re
from html.parser import HTMLParser

import httpx
import pytest

pytestmark = pytest.mark.anyio


class References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inline |= tag == "script" and "src" not in dict(attrs)


async def test_everything_the_page_loads_is_served_here(http_without_database: httpx.AsyncClient) -> None:
    page = await http_without_database.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    parser = References()
    parser.feed(page.text)
    assert len(parser.found) == 4
    assert not parser.inline  # the policy would refuse it
    for reference in parser.found:
        assert re.fullmatch(r"/static/[\w./-]+", reference)
        asset = await http_without_database.get(reference)
        assert asset.status_code == 200
        assert len(asset.content) > 100
    start = (await http_without_database.get("/static/docs.js")).text
    assert re.findall(r'url: "([^"]+)"', start) == ["/openapi.json"]
    assert "validatorUrl: null" in start
    assert "//" not in start.replace("// ", "")
    style = (await http_without_database.get("/static/swagger-ui/swagger-ui.css")).text
    assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style)


async def test_the_browser_is_told_to_load_nothing_from_elsewhere(
    http_without_database: httpx.AsyncClient,
) -> None:
    policy = (await http_without_database.get("/docs")).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


async def test_the_front_page_leads_to_it(http_without_database: httpx.AsyncClient) -> None:
    answer = await http_without_database.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_the_assets_come_with_their_licence(http_without_database: httpx.AsyncClient) -> None:
    assert "Apache License" in (await http_without_database.get("/static/swagger-ui/LICENSE")).text
