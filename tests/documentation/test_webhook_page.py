"""docs/webhooks.md, followed with two terminals: a service with the secret, the receiver, and the request."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.cli_support import clean_environment
from tests.documentation.blocks import ROOT, blocks_of
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import serving

pytestmark = pytest.mark.usefixtures("processes")


def test_the_receiver_of_the_page_prints_a_signed_event(tmp_path: Path) -> None:
    """Word for word, but for the two ports; of the first block, only the last line is another one."""
    settings, request, receiver = (block.text for block in blocks_of(ROOT / "docs" / "webhooks.md"))
    assert settings.splitlines()[2] == ".venv/bin/imagegen serve"
    exports = "\n".join(settings.splitlines()[:2])
    shown = subprocess.run(["bash", "-euc", f"{exports}\nenv"], capture_output=True, text=True, check=True).stdout
    secrets = dict(re.findall(r"^(IMAGEGEN_WEBHOOKS__\w+)=(.*)$", shown, re.MULTILINE))
    port = free_port()
    with ExitStack() as stack:
        simulated = {"IMAGEGEN_WORKER__ENGINE": "simulated"}
        service = stack.enter_context(serving(tmp_path, environment={**secrets, **simulated}))
        printed = stack.enter_context((tmp_path / "printed").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", receiver.replace("9000", str(port))],
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=clean_environment(**secrets),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        text = request.replace("127.0.0.1:8000", service.url.removeprefix("http://")).replace("9000", str(port))
        subprocess.run(["bash", "-euc", text], check=True, env={**os.environ}, stdout=subprocess.DEVNULL)
        wait_until(lambda: "image.job.completed" in (tmp_path / "printed").read_text(), deadline_s=60)
