"""How long a job will take, from what the last jobs of its graph took.

The time of a job is taken to be a fixed part, so much for each denoising step, and so much for each picture beside its
steps (text encoder, VAE, encoding). The last two grow with the pixels of a picture along a line, and faster beyond the
largest picture that was measured (attention grows with the square of the pixels). The lines are drawn through the
last jobs by weighted medians of slopes (Theil 1950, Sen 1968; Jaeckel 1972 for the weights), so that a job
that was held up once, as by the first picture of a new size, does not change them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log, pow
from statistics import median

from graphs.families.strength import single
from graphs.requests.request import ResolvedRequest

# How many of a graph's last jobs are kept, and how many there must be for an estimate.
MOST_KEPT = 16
FEWEST = 3
# Sizes that are closer than this say nothing of how the time grows with the size.
_NEARLY_EQUAL = 1.2
# Beyond the largest measured size each further pixel costs more, by this power of how much larger the picture is. From
# 512x512 to 1024x1024 a step of the bundled model took 5.2 to 7 times as long, for 4 times the pixels.
_GROWTH_BEYOND = 0.25


@dataclass(frozen=True)
class JobWork:
    """What a job asks of a device: its denoising steps in all, its pictures, and the pixels of one picture."""

    steps: int
    pictures: int
    pixels: int

    def __str__(self) -> str:
        """Return the text that ``read_work`` reads."""
        return f"{self.steps} {self.pictures} {self.pixels}"


@dataclass(frozen=True)
class JobTime:
    """How long a completed job took, in seconds: all of its steps, its pictures beside the steps, and in all."""

    work: JobWork
    steps_s: float
    pictures_s: float
    whole_s: float


@dataclass(frozen=True)
class MeasuredTimes:
    """The last jobs of one graph, at most MOST_KEPT."""

    times: Sequence[JobTime]

    def seconds(self, work: JobWork) -> float | None:
        """Return the estimated seconds of a job, None before FEWEST jobs were completed."""
        if len(self.times) < FEWEST:
            return None
        step_s = _at(work.pixels, self._of_steps)
        picture_s = _at(work.pixels, self._of_pictures)
        return self._fixed_s + work.steps * step_s + work.pictures * picture_s

    def seconds_of(self, sums: Sequence[int]) -> float:
        """Return the estimated seconds of several jobs by their sums (``read_sums``), 0 before FEWEST were completed.

        Each step and each picture counts as one of their average size.
        """
        jobs, steps, pictures, step_pixels, picture_pixels = sums
        if len(self.times) < FEWEST or jobs <= 0:
            return 0.0
        step_s = _at(max(1, round(step_pixels / max(1, steps))), self._of_steps)
        picture_s = _at(max(1, round(picture_pixels / max(1, pictures))), self._of_pictures)
        return jobs * self._fixed_s + steps * step_s + pictures * picture_s

    @cached_property
    def _fixed_s(self) -> float:
        return max(0.0, median(time.whole_s - time.steps_s - time.pictures_s for time in self.times))

    @cached_property
    def _of_steps(self) -> list[tuple[int, float]]:
        return [(time.work.pixels, time.steps_s / time.work.steps) for time in self.times]

    @cached_property
    def _of_pictures(self) -> list[tuple[int, float]]:
        return [(time.work.pixels, time.pictures_s / time.work.pictures) for time in self.times]


def work_of(request: ResolvedRequest) -> JobWork:
    """Return the work of a request; an edit runs only the share of its steps that its strength says."""
    steps = request.num_inference_steps
    if request.strength is not None and request.strength < 1:
        steps = max(1, round(single(steps * single(request.strength))))
    pictures = request.num_images_per_prompt
    return JobWork(steps * pictures, pictures, request.width * request.height)


def read_work(text: bytes | None, cost: float) -> JobWork:
    """Return the work of a job's record; ``cost`` (steps times megapixels) stands for one without, of before 0.2."""
    if text is None:
        return JobWork(1, 1, round(cost * 1e6))
    steps, pictures, pixels = map(int, text.split())
    return JobWork(steps, pictures, pixels)


def read_sums(text: bytes) -> tuple[int, int, int, int, int]:
    """Return the sums of some jobs (lua/work.lua): jobs, steps, pictures, steps times pixels, pictures times pixels."""
    jobs, steps, pictures, step_pixels, picture_pixels = map(int, text.split() or (0, 0, 0, 0, 0))
    return jobs, steps, pictures, step_pixels, picture_pixels


def read_times(lines: Sequence[bytes]) -> MeasuredTimes:
    """Return the times of a graph's list in Redis; ``lua/finish.lua`` writes its lines."""
    return MeasuredTimes([_time(line.split()) for line in lines])


def _time(words: Sequence[bytes]) -> JobTime:
    steps_s, pictures_s, whole_s = map(float, words[3:])
    return JobTime(read_work(b" ".join(words[:3]), 0.0), steps_s, pictures_s, whole_s)


def _at(pixels: int, measured: Sequence[tuple[int, float]]) -> float:
    """Return the seconds for a picture of so many pixels, from pairs of pixels and seconds."""
    equal = [seconds for size, seconds in measured if size == pixels]
    if len(equal) > 1:
        return median(equal)
    largest = max(size for size, _ in measured)
    slope = _slope(measured) or median(seconds / size for size, seconds in measured)
    start = median(seconds - slope * size for size, seconds in measured)
    if pixels > largest:
        return _median_at(largest, measured) + slope * (pixels - largest) * pow(pixels / largest, _GROWTH_BEYOND)
    if start >= 0:
        return start + slope * pixels
    return _on_power(pixels, measured)


def _on_power(pixels: int, measured: Sequence[tuple[int, float]]) -> float:
    """Return the seconds where they grow faster than the pixels: a power through the nearest size on each side."""
    sizes = {size for size, _ in measured}
    larger = min(size for size in sizes if size >= pixels)
    smaller = max((size for size in sizes if size < pixels), default=larger)
    larger_s = _median_at(larger, measured)
    smaller_s = _median_at(smaller, measured)
    power = log(larger_s / smaller_s) / log(larger / smaller) if larger > smaller and 0 < smaller_s < larger_s else 1.0
    return larger_s * pow(pixels / larger, power)


def _median_at(pixels: int, measured: Sequence[tuple[int, float]]) -> float:
    return median(seconds for size, seconds in measured if size == pixels)


def _slope(measured: Sequence[tuple[int, float]]) -> float:
    """Return the seconds for each further pixel, 0 where the sizes or the times do not grow."""
    slopes = [
        ((after_s - before_s) / (larger - smaller), larger - smaller)
        for smaller, before_s in measured
        for larger, after_s in measured
        if larger > smaller * _NEARLY_EQUAL
    ]
    return max(0.0, _weighted_median(slopes)) if slopes else 0.0


def _weighted_median(weighted: Sequence[tuple[float, int]]) -> float:
    """Return the value at which half of the weight is reached, of pairs of value and weight."""
    left = sum(weight for _, weight in weighted) / 2
    for value, weight in sorted(weighted):
        left -= weight
        if left <= 0:
            return value
    raise ValueError("there is no value")
