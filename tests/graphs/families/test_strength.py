import pytest

from graphs.families.strength import single


@pytest.mark.parametrize(("value", "rounded"), [(0.5, 0.5), (0.1, 0.10000000149011612), (1e-60, 0.0)])
def test_single_precision_is_the_machines(value: float, rounded: float) -> None:
    assert single(value) == rounded
