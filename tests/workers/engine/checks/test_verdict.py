"""What follows of a trouble, with a device that draws the known picture and with one that does not."""

import pytest

from workers.engine.checks.verdict import DeviceVerdict, Trouble, verdict_on


@pytest.mark.parametrize("trouble", list(Trouble))
def test_the_process_ends_where_the_known_picture_is_wrong(trouble: Trouble) -> None:
    assert verdict_on(trouble, known_is_right=False) is DeviceVerdict.END_PROCESS


@pytest.mark.parametrize("trouble", [Trouble.RUNTIME_ERROR, Trouble.NOT_FINITE])
def test_the_request_fails_where_the_known_picture_is_right(trouble: Trouble) -> None:
    assert verdict_on(trouble, known_is_right=True) is DeviceVerdict.FAIL_JOB


def test_an_image_of_one_value_stands_where_the_known_picture_is_right() -> None:
    assert verdict_on(Trouble.ONE_VALUE, known_is_right=True) is DeviceVerdict.KEEP_IMAGE
