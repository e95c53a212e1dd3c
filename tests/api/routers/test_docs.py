"""The page of the API's documentation: its files are those of Swagger UI and are served here."""

import hashlib
import re

import pytest

from api.routers.docs import FILES
from tests.api.api_support import Api

# swagger-ui-dist 5.35.0 of npm.
SHA256 = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
    "favicon-32x32.png": "3ed612f41e050ca5e7000cad6f1cbe7e7da39f65fca99c02e99e6591056e5837",
}


@pytest.mark.parametrize("name", SHA256)
def test_the_files_are_those_of_the_release(name: str) -> None:
    assert hashlib.sha256((FILES / name).read_bytes()).hexdigest() == SHA256[name]


def test_the_page_names_only_files_that_are_served_here(api: Api) -> None:
    page = api.http.get("/docs").text
    found = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(found) == len(SHA256)
    for address in found:
        assert api.http.get(address).content == (FILES / address.rpartition("/")[2]).read_bytes()
    assert "/openapi.json" in page
