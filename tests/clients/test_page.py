"""docs/clients.md shows the scripts that `make test-clients` runs, and what their last run has shown."""

import re

import pytest

from tests.clients.clients import EVERY_CLIENT, STEPS, Client
from tests.clients.page import PAGE, recipe, with_limits, with_recipes, with_rows
from tests.clients.running import DOCUMENTED, ROOT, SCRIPTS

TEXT = PAGE.read_text()


def test_its_recipes_and_limits_are_those_of_the_code() -> None:
    """After a change: python -m tests.clients.page."""
    assert with_limits(with_recipes(TEXT)) == TEXT


def test_every_script_that_shows_something_is_in_it() -> None:
    shown = set(re.findall(r"<!-- recipe: (\S+) -->", TEXT))
    helpers = {"litellm_proxy.py", "gpt_image_mcp.py", "image_generation_mcp.py", "mcp_stdio.py", "open_webui.py"}
    assert shown | helpers | {"node_timeout.mjs", "__init__.py"} == {path.name for path in SCRIPTS.iterdir()} - {
        "__pycache__"
    }


@pytest.mark.parametrize("client", EVERY_CLIENT, ids=lambda client: client.name)
def test_a_client_has_a_row_of_what_its_script_shows(client: Client) -> None:
    (row,) = re.findall(
        rf"^\| {re.escape(client.name)} \| ([^|\n]*\d[^|\n]*) \| \d{{4}}-\d\d-\d\d \| (.*) \|$", TEXT, re.M
    )
    assert row[1].split(" | ") == ["yes" if step in client.steps else "–" for step in STEPS]


def test_a_recipe_has_no_setting_but_the_address() -> None:
    named = [name for name in re.findall(r"<!-- recipe: (\S+) -->", TEXT) if DOCUMENTED in recipe(name)]
    assert named == re.findall(r"<!-- recipe: (\S+) -->", TEXT)


def test_every_line_of_what_is_answered_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| .* \| `(tests/\S+\.py)::(\w+)` \|$", TEXT.partition("## What is sent")[2], re.MULTILINE)
    assert len(rows) > 25
    assert [row for row in rows if f"def {row[1]}(" not in (ROOT / row[0]).read_text()] == []


def test_rows_of_other_clients_stay() -> None:
    page = "<!-- runs begin -->\n| curl | 1 |\n| Java | 2 |\n<!-- runs end -->\n"
    rows = with_rows(page, {"Java": "| Java | 3 |"}).splitlines()[3:5]
    assert rows == ["| Java | 3 |", "| curl | 1 |"]


def test_the_lock_files_name_no_registry() -> None:
    locks = [*(ROOT / "tests" / "clients" / "locks").iterdir(), ROOT / "tests/clients/node/package-lock.json"]
    text = "".join(path.read_text() for path in locks)
    assert len(locks) > 10 and '"resolved"' not in text and not re.search(r"--(extra-)?index-url", text)
