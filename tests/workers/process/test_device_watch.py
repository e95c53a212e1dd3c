"""When a worker lets its device rest: after two children in a row that completed nothing since they loaded."""

import pytest

from workers.process.child_reports import ChildEnd
from workers.process.device_watch import DeviceWatch
from workers.process.shared_memory import LoadReport


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> DeviceWatch:
    return DeviceWatch(clock)


def _end(pid: int, *, is_fresh: bool) -> ChildEnd:
    return ChildEnd(pid, "device", "It drew black.", is_fresh)


def test_each_report_counts_once(watch: DeviceWatch) -> None:
    assert not watch.is_new_end(None)
    assert watch.is_new_end(_end(1, is_fresh=True))
    assert not watch.is_new_end(_end(1, is_fresh=True))
    assert not watch.is_resting


def test_children_that_drew_may_fail_again_and_again(watch: DeviceWatch) -> None:
    for pid in range(1, 9, 2):
        assert watch.is_new_end(_end(pid, is_fresh=True))
        assert watch.is_new_end(_end(pid + 1, is_fresh=False))
        assert not watch.is_resting


def test_a_second_fresh_child_lets_the_device_rest_and_says_what_to_do(watch: DeviceWatch, clock: Clock) -> None:
    for pid, is_fresh in ((1, False), (2, True), (3, True)):
        assert not watch.is_resting
        watch.is_new_end(_end(pid, is_fresh=is_fresh))
    assert watch.is_resting
    assert watch.advice == (
        "2 fresh processes in a row failed on this device, so this worker is not ready. It tries again in 60 s. "
        'Set "INFERENCE_PRECISION_HINT": "f32" in plugin_config, spread the parts of the model over '
        'several devices (device: "TEXT_ENCODE DENOISE VAE"), or allow smaller sizes only (max_resolution).'
    )
    clock.now += 59
    assert watch.is_resting
    clock.now += 1
    assert not watch.is_resting


def test_each_further_one_doubles_the_rest_up_to_a_bound(watch: DeviceWatch, clock: Clock) -> None:
    rests = []
    watch.is_new_end(_end(1, is_fresh=True))
    for pid in range(2, 9):
        watch.is_new_end(_end(pid, is_fresh=True))
        began = clock.now
        while watch.is_resting:
            clock.now += 30
        rests.append(clock.now - began)
    assert rests == [60, 120, 240, 480, 960, 960, 960]


def test_a_load_that_fails_counts_only_after_one_that_did_not(watch: DeviceWatch) -> None:
    assert not watch.has_failed_load(LoadReport(1, (), "no such file"))
    assert not watch.has_failed_load(None)
    assert not watch.has_failed_load(LoadReport(1, ("generation",)))
    for _ in range(3):
        assert watch.has_failed_load(LoadReport(2, (), "the test image is black"))
    assert not watch.is_resting
    assert watch.has_failed_load(LoadReport(3, (), "the test image is black"))
    assert watch.is_resting
