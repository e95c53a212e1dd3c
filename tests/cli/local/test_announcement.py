"""The lines that `imagegen serve` prints when it is ready; tests/cli/commands/test_serve.py runs the commands."""

import os
import sys
from pathlib import Path

import pytest

from cli.local.announcement import announcement, command_line, curl_line
from cli.local.api_address import base_url
from config.http_settings import HttpSettings
from config.settings import Settings
from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.repository.bundled import load_served
from graphs.repository.repository import Repository

TWO = ("first", "second")


@pytest.fixture(autouse=True)
def _called_as_imagegen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the command be .venv/bin/imagegen of the current folder, which is not on the PATH."""
    command = tmp_path / ".venv" / "bin" / "imagegen"
    command.parent.mkdir(parents=True)
    command.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(command)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
        ("images.local", "http://images.local:8000"),
    ],
)
def test_the_printed_address_can_be_reached(address: str, url: str) -> None:
    http = HttpSettings(rest_bind_address=address)
    assert base_url(http) == url
    assert f"{url}/v3" in announcement(Settings(http=http), load_served())


def test_only_where_several_models_are_served_the_commands_name_one(tmp_path: Path) -> None:
    printed = announcement(Settings(), Repository({name: Graph(name=name, models_path=tmp_path) for name in TWO}))
    assert "models: first, second\n" in printed
    assert '"model": "first"' in printed and "--model first" in printed
    one = announcement(Settings(), load_served())
    assert '"model":' not in one and "--model" not in one
    assert '"model": "it\\u0027s"' in curl_line("http://h:1", "it's")
    assert "--model 'it'\"'\"'s'" in command_line("http://h:1", "it's")


def test_the_command_is_named_as_it_was_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert command_line("http://127.0.0.1:8000").startswith('.venv/bin/imagegen generate "')
    assert command_line("http://127.0.0.1:8000").endswith("-o image.png")
    assert command_line("http://127.0.0.1:9000").endswith("-o image.png --url http://127.0.0.1:9000")
    monkeypatch.setenv("PATH", f"{tmp_path}/.venv/bin:{os.environ['PATH']}")
    assert command_line("http://127.0.0.1:8000").startswith("imagegen generate ")


def test_the_adapters_of_each_model_are_listed(tmp_path: Path) -> None:
    fused = LoraAdapter(alias="base", path=tmp_path / "base.safetensors", mode=LoraMode.FUSE)
    repository = Repository({"m": Graph(name="m", models_path=tmp_path, lora_adapters=(fused,))})
    printed = announcement(Settings(lora_folder=tmp_path / "loras"), repository)
    assert "models: m\nLoRA of m: merged into the model: base\n" in printed
    assert f"adapters of {tmp_path}/loras are added as they are read: `.venv/bin/imagegen adapters list`" in printed


def test_the_variable_of_a_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEGEN_HTTP__API_KEY", "sk-hush")
    printed = announcement(Settings(http=HttpSettings(api_key="sk-hush")), load_served())
    assert "the key in the environment variable IMAGEGEN_HTTP__API_KEY" in printed
    assert 'IMAGEGEN_API_KEY="$IMAGEGEN_HTTP__API_KEY" .venv/bin/imagegen generate' in printed
    assert "hush" not in printed
