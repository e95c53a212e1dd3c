"""Every block of code in README.md and docs/ is run, or says which test runs it or why nothing can."""

import re
from pathlib import Path

import pytest

from tests.documentation.blocks import BLOCKS, NOT_RUN, RECIPE, ROOT, RUN_BY, RUNNABLE, Block, blocks_of

RUN_HERE = [block for block in BLOCKS if not block.mark]
MARKED = [block for block in BLOCKS if block.mark]
BY_OTHERS = [block for block in MARKED if RUN_BY.search(block.mark) or RECIPE.search(block.mark)]
NOT_RUNNABLE = [block for block in MARKED if NOT_RUN.search(block.mark)]
TALLY = f"{len(RUN_HERE)} run here, {len(BY_OTHERS)} by other tests, {len(NOT_RUNNABLE)} marked as not runnable"


@pytest.mark.parametrize("tally", [TALLY])
def test_how_many_blocks_are_run(tally: str) -> None:
    """The name of this test says it in every report."""
    assert tally == TALLY and len(RUN_HERE) + len(BY_OTHERS) + len(NOT_RUNNABLE) == len(BLOCKS)
    assert len(RUN_HERE) > 20


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_is_of_a_kind_that_is_run_or_is_marked(block: Block) -> None:
    assert block in MARKED or block.kind in RUNNABLE, (
        "This block is not run. Give it a kind that tests/documentation/test_blocks.py runs, or a comment before it: "
        "<!-- not run: REASON. --> or <!-- run by tests/PATH.py::NAME -->."
    )


@pytest.mark.parametrize("block", BY_OTHERS, ids=lambda block: block.place)
def test_the_test_or_the_script_that_runs_a_block_exists(block: Block) -> None:
    mark: str = block.mark
    if named := RUN_BY.search(mark):
        assert f"def {named[2]}(" in (ROOT / named[1]).read_text()
    if script := RECIPE.search(mark):
        assert (ROOT / "tests" / "clients" / "scripts" / script[1]).is_file()


@pytest.mark.parametrize("block", NOT_RUNNABLE, ids=lambda block: block.place)
def test_a_reason_is_a_sentence(block: Block) -> None:
    reason = NOT_RUN.search(block.mark)
    assert reason and re.fullmatch(r"[a-z`].{20,}\.", reason[1])


def test_the_blocks_of_a_page_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n<!-- not run: it needs a GPU, which is not here. -->\n\n```sh\none\n```\n\nText:\n\n"
        "    two\n\n    2b\n\n1. A list\n\n    ```json\n    {}\n    ```\n\n    its text\n"
    )
    found = [(block.line, block.kind, block.text, bool(block.mark)) for block in blocks_of(page)]
    assert found == [(5, "sh", "one\n", True), (11, "", "two\n\n2b\n", False), (17, "json", "{}\n", False)]
