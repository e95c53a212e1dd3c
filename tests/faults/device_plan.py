"""A run under load in which requests and devices are at fault, and no part is harmed otherwise."""

import random
from dataclasses import dataclass

from tests.faults.plan import Ask, AskKind, Plan
from workers.engine.simulated_faults import SimulatedFault

AT_FAULT_EVERY = 10
BREAKS_AT = 30
# What the error of a request at fault says; of plain images, those of one value have a warning.
ERRORS = {
    SimulatedFault.RUNTIME_ERROR: "The runtime failed: this error is simulated.",
    SimulatedFault.NOT_FINITE: "The model computed infinite numbers: this fault is simulated.",
}
PLAIN = (SimulatedFault.PLAIN, SimulatedFault.ONE_VALUE)


@dataclass(frozen=True)
class DevicePlan(Plan):
    """So many requests: in each ten one is at fault and one asks for a plain image, at places of the seed's.

    The device of each process that draws breaks at the thirtieth request that it begins, whichever that is.
    """

    count: int = 0

    @property
    def asks(self) -> int | None:
        return self.count

    @property
    def breaks_after(self) -> int | None:
        return BREAKS_AT - 1

    def ask(self, number: int) -> Ask:
        """The request of that number; the same for the same seed."""
        block, place = divmod(number, AT_FAULT_EVERY)
        at_fault, plain = random.Random(f"{self.seed}/at fault/{block}").sample(range(AT_FAULT_EVERY), 2)
        if place == at_fault:
            return self._special(number, AskKind.AT_FAULT, list(ERRORS)[block % len(ERRORS)])
        if place == plain:
            return self._special(number, AskKind.PLAIN, PLAIN[block % len(PLAIN)])
        return super().ask(number)

    def _special(self, number: int, kind: AskKind, fault: SimulatedFault) -> Ask:
        return self._ask(number, kind, f"ask {number}: a fox, {fault}")


def fault_of(ask: Ask) -> SimulatedFault:
    """The fault that the prompt of such a request names."""
    return next(fault for fault in SimulatedFault if fault in ask.prompt)
