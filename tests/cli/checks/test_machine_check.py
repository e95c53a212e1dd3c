"""The checks of this machine: models, devices, disk, port."""

import json
from pathlib import Path

import pytest

from cli.checks.finding import Verdict
from cli.checks.machine_check import check_devices, check_disk, check_models, check_port
from config.http_settings import HttpSettings
from config.settings import RepositorySettings, Settings, WorkerSettings
from graphs.repository.bundled import bundled_model_path
from tests.cli.checks.check_support import only


def test_models_that_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").write_text("node: {")
    report = check_models(Settings(repository=RepositorySettings(model_path=tmp_path)))
    (finding,) = report.findings
    assert finding.verdict is Verdict.WRONG
    assert str(tmp_path / "graph.pbtxt") in finding.message
    assert report.graphs == {}


@pytest.mark.usefixtures("processes", "openvino_runtime")
def test_a_device_that_is_not_here() -> None:
    settings = Settings(worker=WorkerSettings(device="CPU GPU.7 CPU"))
    graphs = check_models(settings).graphs
    verdict, text = only(check_devices(settings, graphs))
    assert verdict is Verdict.WRONG
    assert "demo wants GPU.7; OpenVINO finds CPU" in text
    assert only(check_devices(settings, graphs, served=["demo"]))[0] is Verdict.NOTE


@pytest.mark.usefixtures("processes", "openvino_runtime")
def test_a_device_that_another_stands_in_for() -> None:
    settings = Settings(worker=WorkerSettings(device="GPU.1", device_map="GPU=CPU"))
    here, mapped = check_devices(settings, check_models(settings).graphs)
    assert here.verdict is Verdict.OK
    assert (mapped.verdict, mapped.message) == (
        Verdict.NOTE,
        "IMAGEGEN_WORKER__DEVICE_MAP is GPU=CPU: demo on GPU.1 (mapped to CPU).",
    )


@pytest.mark.usefixtures("processes", "openvino_runtime")
def test_a_device_that_does_not_go_with_the_graph() -> None:
    settings = Settings(worker=WorkerSettings(device="NPU", device_map="NPU=CPU"))
    misfit = check_devices(settings, check_models(settings).graphs)[0]
    assert misfit.verdict is Verdict.WRONG
    assert "'demo' cannot be served on 'NPU'" in misfit.message


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    assert check_disk(tmp_path / "not" / "yet", 0).verdict is Verdict.OK
    assert check_disk(tmp_path, 2**62).verdict is Verdict.WRONG


def test_a_port_that_is_anothers(port_in_use: int, free_port: int) -> None:
    taken = check_port(HttpSettings(rest_port=port_in_use), timeout_s=0.2)
    assert (taken.verdict, "is in use" in taken.message) == (Verdict.WRONG, True), taken
    assert "--rest_port" in taken.remedy
    assert check_port(HttpSettings(rest_port=free_port)).verdict is Verdict.NOTE


def test_own_options_that_are_wrong(tmp_path: Path) -> None:
    config = {"model_config_list": [{"config": {"name": "demo", "base_path": str(bundled_model_path())}}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "imagegen.toml").write_text('aliases = ["x"]\n')
    report = check_models(Settings(repository=RepositorySettings(config_path=tmp_path / "config.json")))
    (finding,) = report.findings
    assert finding.verdict is Verdict.WRONG
    assert finding.message.startswith(f"{tmp_path / 'imagegen.toml'}:1: aliases: This file is for all models")
