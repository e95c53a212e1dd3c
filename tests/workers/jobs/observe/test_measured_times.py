"""The estimate of a job's time from the last jobs, against times that are known."""

import random
from itertools import product

import pytest

from tests.workers.jobs.jobs_support import a_request
from workers.jobs.observe.measured_times import FEWEST, JobTime, JobWork, MeasuredTimes, read_times, read_work, work_of

# seconds: fixed, of a step, of a step for a megapixel, of a picture, of a picture for a megapixel; and how much more a
# megapixel takes for each megapixel of the picture (attention)
SMALL_MODEL = (0.03, 0.004, 0.5, 0.01, 0.8, 0.7)
LARGE_MODEL = (0.4, 0.05, 2.5, 0.2, 3.0, 0.6)
SIDES = (128, 192, 256, 512, 1024)


def true_s(work: JobWork, model: tuple[float, ...]) -> JobTime:
    fixed, step, step_mp, picture, picture_mp, attention = model
    megapixels = work.pixels / 1e6 * (1 + attention * work.pixels / 1e6)
    steps_s = work.steps * (step + step_mp * megapixels)
    pictures_s = work.pictures * (picture + picture_mp * megapixels)
    return JobTime(work, steps_s, pictures_s, fixed + steps_s + pictures_s)


def works(generator: random.Random, count: int) -> list[JobWork]:
    """Return jobs of different sizes, with 2 to 40 steps and 1 to 3 pictures."""
    sides = generator.sample(SIDES, count)
    return [JobWork(generator.randint(2, 40) * n, n, side**2) for side in sides for n in [generator.randint(1, 3)]]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("model", [SMALL_MODEL, LARGE_MODEL], ids=["small", "large"])
def test_after_three_jobs_every_other_size_and_step_count_is_within_half(model: tuple[float, ...], seed: int) -> None:
    """Each time is off by up to a tenth, as times of a real device are."""
    generator = random.Random(seed)
    times = []
    for work in works(generator, FEWEST):
        time, off = true_s(work, model), generator.uniform(0.9, 1.1)
        times.append(JobTime(work, time.steps_s * off, time.pictures_s * off, time.whole_s * off))
    measured = MeasuredTimes(times)
    smallest, largest = min(t.work.pixels for t in times), max(t.work.pixels for t in times)
    for side, steps, pictures in product(SIDES, (1, 7, 50), (1, 4)):
        if smallest <= side**2 <= largest * 4:
            work = JobWork(steps * pictures, pictures, side**2)
            found = measured.seconds(work)
            assert found is not None
            assert 1 / 1.5 < found / true_s(work, model).whole_s < 1.5, (work, times)


def test_one_job_that_was_held_up_does_not_change_the_estimate() -> None:
    work = JobWork(20, 1, 128**2)
    times = [true_s(work, SMALL_MODEL), true_s(JobWork(8, 2, 256**2), SMALL_MODEL), true_s(work, SMALL_MODEL)]
    held_up = JobTime(JobWork(4, 1, 128**2), 5.0, 3.0, 60.0)
    found = MeasuredTimes([held_up, *times]).seconds(work)
    assert found == pytest.approx(true_s(work, SMALL_MODEL).whole_s, rel=0.5)


def test_jobs_of_one_size_are_scaled_by_the_pixels() -> None:
    times = [JobTime(JobWork(10, 1, 10**6), 10.0, 1.0, 11.0)] * FEWEST
    assert MeasuredTimes(times).seconds(JobWork(10, 1, 10**6 // 2)) == pytest.approx(5.5)
    assert MeasuredTimes(times).seconds(JobWork(10, 1, 2 * 10**6)) == pytest.approx(11.0 + 11.0 * 2**0.25)
    assert MeasuredTimes(times).seconds(JobWork(20, 2, 10**6)) == pytest.approx(22.0)


def test_times_that_fall_with_the_size_do_not_become_negative() -> None:
    times = [JobTime(JobWork(10, 1, side**2), 3.0 - side / 1000, 0.1, 4.0) for side in (128, 512, 1024)]
    found = MeasuredTimes(times).seconds(JobWork(10, 1, 4096**2))
    assert found is not None and found > 1.0


def test_before_three_jobs_nothing_is_estimated() -> None:
    work = JobWork(20, 1, 128**2)
    for count in range(FEWEST):
        assert MeasuredTimes([true_s(work, SMALL_MODEL)] * count).seconds(work) is None


def test_the_line_of_a_job_is_read() -> None:
    (time,) = read_times([b"20 2 16384 1.500000 0.250000 2.000000"]).times
    assert time == JobTime(JobWork(20, 2, 16384), 1.5, 0.25, 2.0)
    assert read_work(str(time.work).encode(), 0.0) == time.work
    assert read_work(None, 0.25) == JobWork(1, 1, 250_000)


def test_the_work_of_an_edit_is_the_share_of_its_steps() -> None:
    assert work_of(a_request(num_inference_steps=20, num_images_per_prompt=3)) == JobWork(60, 3, 128**2)
    assert work_of(a_request(num_inference_steps=20, strength=0.25)) == JobWork(5, 1, 128**2)
    assert work_of(a_request(num_inference_steps=2, strength=0.1)) == JobWork(1, 1, 128**2)
