"""The names of tensors in files of public projects, against all layers of the real architectures."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from graphs.adapters.fit import fit_adapter
from graphs.adapters.keys import AdapterKey, read_key
from graphs.adapters.targets import AdapterTargets
from graphs.adapters.updates import AdapterFit
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import read_model_facts
from tests.graphs.adapters.key_lists import KEY_LISTS, KeyList, names
from tests.graphs.adapters.layer_models import write_model

RANK = 2
# What stands in front of a CLIP encoder's layers in exports by older and newer transformers.
WRAPPERS = ("text_model.", "model.", "")
Models = Mapping[tuple[str, str], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    return {
        (name, wrapper): write_model(folder / f"{name}-{number}", name, wrapper)
        for name in ("SD 1.5", "SD 2.1", "SDXL", "SD3", "SD3.5", "FLUX")
        for number, wrapper in enumerate(WRAPPERS)
    }


def fit(path: Path, model: Path) -> AdapterFit:
    return fit_adapter(path, model, read_model_facts(model).family)


def write_adapter(path: Path, keys: Iterable[str], model: Path) -> Path:
    """Write tensors of these names, in the shapes that the model's layers of these names take."""
    targets = AdapterTargets(model, read_model_facts(model).family)
    tensors = {}
    for key in keys:
        read = read_key(key)
        tensors[key] = np.zeros(shape_of(read, targets) if read else (1,), np.float16)
    save_file(tensors, path)
    return path


def shape_of(key: AdapterKey, targets: AdapterTargets) -> tuple[int, ...]:
    layers = [target.layer for target in targets.find(key)]
    outputs = sum(layer.outputs for layer in layers) or RANK
    inputs, kernel = (layers[0].inputs, layers[0].kernel) if layers else (RANK, 1)
    side = round(kernel**0.5)
    shapes: dict[str, tuple[int, ...]] = {
        "down": (RANK, inputs) if kernel == 1 else (RANK, inputs, side, side),
        "up": (outputs, RANK),
        "alpha": (),
        "lokr_w1": (1, 1),
        "lokr_w2": (outputs, inputs),
    }
    return shapes[key.part]


def module_of(name: str) -> tuple[str, str]:
    key = read_key(name)
    assert key is not None, name
    return key.component, key.module


def without_wrapper(module: str) -> str:
    return module.removeprefix("text_model_")


@pytest.mark.parametrize("listed", KEY_LISTS, ids=lambda listed: listed.source)
def test_the_names_of_public_projects(listed: KeyList, models: Models, tmp_path: Path) -> None:
    assert len(listed.keys) == listed.count
    for model in (models[listed.model, wrapper] for wrapper in WRAPPERS):
        path = write_adapter(tmp_path / "a.safetensors", listed.keys, model)

        if listed.refused is not None:
            with pytest.raises(AdapterMisfit) as caught:
                fit(path, model)
            assert listed.refused in caught.value.message
            continue
        found = fit(path, model)

        modules = {module_of(key) for key in listed.keys}
        matched = {module_of(update.key) for update in found.updates}
        left_out = [module.replace(".", "_") for rule in listed.left_out for module in names(rule)]
        assert len(modules) == listed.modules
        assert sorted(module for _, module in modules - matched) == sorted(map(without_wrapper, left_out))
        assert len({(update.target.component, update.target.layer) for update in found.updates}) == len(found.updates)
