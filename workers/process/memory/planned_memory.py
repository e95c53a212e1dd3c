"""The memory that a worker plans with: what its model is estimated to take, and the bound of its child."""

from dataclasses import dataclass

from config.machine_memory import child_memory_limit_bytes, computes_in_bf16, memory_bytes
from config.settings import WorkerSettings
from graphs.definition.devices import with_stand_ins
from graphs.definition.graph import Graph
from graphs.repository.model_memory import MemoryNeed, read_memory_need
from graphs.resolution import Resolution

_MIB = 2**20
_F32_BYTES = 4
_HALF_BYTES = 2


@dataclass(frozen=True)
class PlannedMemory:
    """The bound of a child's resident memory; ``need`` is None where the estimate does not hold: not on a CPU alone."""

    limit_bytes: int
    need: MemoryNeed | None

    def load_warning(self, size: Resolution) -> str | None:
        """Return a sentence where one image of this size is estimated to be past the bound."""
        if self.need is None or (needed := self.need.bytes_for(size.width, size.height)) <= self.limit_bytes:
            return None
        fixed_bytes = self.need.fixed_bytes
        return (
            f"the model is estimated to take {needed // _MIB} MiB for an image of {size}, {fixed_bytes // _MIB} MiB of "
            f"them for any size; the bound of the process that draws is {self.limit_bytes // _MIB} MiB "
            "(IMAGEGEN_WORKER__CHILD_MEMORY_LIMIT_BYTES). It is loaded nevertheless; if the system ends the process, "
            "serve it with smaller weights (INT8) or on a machine with more memory."
        )


def plan_memory(settings: WorkerSettings, graph: Graph, device: tuple[str, ...]) -> PlannedMemory:
    """Return what a worker plans with. ``device`` has one entry, or three."""
    limit_bytes = settings.child_memory_limit_bytes or child_memory_limit_bytes(memory_bytes(), workers=1)
    compiled_for = with_stand_ins(device, settings.stand_ins)
    if settings.engine != "openvino" or any(name != "CPU" for name in compiled_for):
        return PlannedMemory(limit_bytes, None)
    try:
        need = read_memory_need(graph.models_path, _compute_bytes(graph))
    except OSError:  # the engine gives the reason when it loads the model
        return PlannedMemory(limit_bytes, None)
    return PlannedMemory(limit_bytes, need)


def _compute_bytes(graph: Graph) -> int:
    asked = str(graph.plugin_config.get("INFERENCE_PRECISION_HINT", ""))
    if asked:
        return _F32_BYTES if asked == "f32" else _HALF_BYTES
    is_accurate = graph.plugin_config.get("EXECUTION_MODE_HINT") == "ACCURACY"
    return _HALF_BYTES if computes_in_bf16() and not is_accurate else _F32_BYTES
