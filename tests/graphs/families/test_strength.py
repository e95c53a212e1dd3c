import pytest

from graphs.families.strength import single


@pytest.mark.parametrize(("value", "rounded"), [(0.5, 0.5), (0.1, 0.10000000149011612), (1e-60, 0.0)])
def test_single_precision_is_that_of_ieee_754(value: float, rounded: float) -> None:
    assert single(value) == rounded
