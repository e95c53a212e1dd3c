import importlib
import pkgutil

import pytest

from graphs import families
from graphs.families.family import Family, Operation
from graphs.families.registry import BY_CLASS_NAME, FAMILIES


def test_every_family_of_the_package_is_registered() -> None:
    modules = [
        importlib.import_module(f"graphs.families.{found.name}") for found in pkgutil.iter_modules(families.__path__)
    ]
    defined = {value for module in modules for value in vars(module).values() if isinstance(value, Family)}
    assert defined == set(FAMILIES)


def test_a_class_name_belongs_to_one_family() -> None:
    assert len(BY_CLASS_NAME) == sum(len(family.class_names) for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_family_has_defaults_for_every_operation(family: Family) -> None:
    assert set(family.guidance_scale) == set(Operation)
    assert set(family.strength) == {Operation.EDIT, Operation.INPAINTING}


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_default_strengths_leave_a_step_of_fifty(family: Family) -> None:
    for strength in family.strength.values():
        assert family.leaves_a_step(strength, 50)
