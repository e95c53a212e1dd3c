"""Decides the size of an image, and refuses sizes that the model cannot draw."""

import math

from graphs.definition.graph import Graph
from graphs.errors import InvalidRequest
from graphs.families.model_facts import ModelFacts
from graphs.requests.request import GenerationParameters
from graphs.resolution import Resolution

# Of a larger number from a client no logarithm can be taken.
_LARGEST_SIDE = 2**31


def resolve_size(
    parameters: GenerationParameters, graph: Graph, facts: ModelFacts, image_size: Resolution | None
) -> Resolution:
    """Return the size in pixels: as requested, else the graph's default, else one of the input image's shape, else the
    model's.

    With ``size_fit: nearest``, a size that the model does not draw becomes the nearest one.
    Raises InvalidRequest, which names ``size``, ``width`` or ``height``.
    """
    default = _default(graph, facts, image_size)
    for name in ("width", "height"):
        value = getattr(parameters, name)
        if value is not None and value < 1:
            raise InvalidRequest(f"{name} must be at least 1, not {value}.", param=name)
    size = Resolution(parameters.width or default.width, parameters.height or default.height)
    if parameters.size_fit == "nearest":
        return _nearest(size, graph, facts)
    _check_multiple(size, facts, parameters)
    _check_limits(size, graph, facts, parameters)
    return size


def size_warnings(
    parameters: GenerationParameters, graph: Graph, drawn: Resolution, image_size: Resolution | None
) -> tuple[str, ...]:
    """Return what a client should know of the size that is drawn, in sentences.

    A size of the request that became another; or, of an edit without one, that the model's own has another shape.
    """
    asked = Resolution(parameters.width or drawn.width, parameters.height or drawn.height)
    if asked != drawn:
        return (f"The size {asked} was asked for; {drawn} is drawn, the nearest size of this model.",)
    is_models_own = parameters.width is None and parameters.height is None and _has_sizes(graph)
    if image_size is None or not is_models_own or parameters.image_fit:
        return ()
    if _same_shape(drawn, image_size):
        return ()
    return (
        f"The image of {image_size} is stretched to {drawn}, the size of this model; give size for another, or "
        "image_fit: crop or pad.",
    )


def mask_warnings(image_size: Resolution | None, mask_size: Resolution | None) -> tuple[str, ...]:
    """Return the sentence about a mask that is stretched because it has another shape than its image."""
    if image_size is None or mask_size is None or _same_shape(image_size, mask_size):
        return ()
    return (
        f"The mask of {mask_size} is stretched to the shape of its image, {image_size}; send a mask of the same shape.",
    )


def _same_shape(one: Resolution, other: Resolution) -> bool:
    """Return whether two sizes have one shape, within what whole pixels allow."""
    return math.isclose(one.width * other.height, one.height * other.width, rel_tol=0.02)


def _has_sizes(graph: Graph) -> bool:
    return graph.default_resolution is not None or bool(graph.resolution)


def _nearest(size: Resolution, graph: Graph, facts: ModelFacts) -> Resolution:
    """Return the size that the model draws and that is nearest in its sides, or of the same shape below the limit."""
    size = Resolution(min(size.width, _LARGEST_SIDE), min(size.height, _LARGEST_SIDE))
    if graph.resolution:
        return min(graph.resolution, key=lambda one: (_shape_distance(one, size), abs(one.width - size.width)))
    limit = graph.max_resolution
    return _scaled(size, min(1.0, limit.width / size.width, limit.height / size.height), facts.size_multiple, limit)


def _shape_distance(one: Resolution, other: Resolution) -> float:
    return round(abs(math.log(one.width * other.height / (one.height * other.width))), 6)


def _default(graph: Graph, facts: ModelFacts, image_size: Resolution | None) -> Resolution:
    if graph.default_resolution is not None:
        return graph.default_resolution
    if graph.resolution:
        preferred = facts.native_resolution if image_size is None else image_size.nearest(facts.size_multiple)
        return preferred if preferred in graph.resolution else graph.resolution[0]
    return facts.native_resolution if image_size is None else _of_image(image_size, graph, facts)


def _of_image(image_size: Resolution, graph: Graph, facts: ModelFacts) -> Resolution:
    """Return the size for an image's shape: its own, or a smaller one within the model's native area and the limits.

    Models draw poorly, and slowly, far above the area that they were trained for.
    """
    native = facts.native_resolution
    limit = graph.max_resolution
    multiple = facts.size_multiple
    scale = min(
        1.0,
        math.sqrt(native.width * native.height / (image_size.width * image_size.height)),
        limit.width / image_size.width,
        limit.height / image_size.height,
    )
    return image_size.nearest(multiple) if scale == 1.0 else _scaled(image_size, scale, multiple, limit)


def _scaled(size: Resolution, scale: float, multiple: int, limit: Resolution) -> Resolution:
    """Return the size times ``scale``, with sides that are multiples and within the limit."""
    scaled = Resolution(max(1, round(size.width * scale)), max(1, round(size.height * scale)))
    near = scaled.nearest(multiple)
    # The nearest multiple may be above a limit that is none itself.
    sides = ((near.width, limit.width), (near.height, limit.height))
    return Resolution(*(side if side <= most else max(multiple, most // multiple * multiple) for side, most in sides))


def _check_multiple(size: Resolution, facts: ModelFacts, parameters: GenerationParameters) -> None:
    multiple = facts.size_multiple
    if size.width % multiple or size.height % multiple:
        raise InvalidRequest(
            f"The size is {size}, but both sides must be multiples of {multiple} for this {facts.family} model; "
            f"the nearest is {size.nearest(multiple)}.",
            param=_name(parameters, width_is_wrong=bool(size.width % multiple)),
            code="invalid_size",
        )


def _check_limits(size: Resolution, graph: Graph, facts: ModelFacts, parameters: GenerationParameters) -> None:
    limit = graph.max_resolution
    if graph.resolution and size not in graph.resolution:
        why = f"but this model draws only {', '.join(map(str, graph.resolution))}"
        wide = size.width not in {allowed.width for allowed in graph.resolution}
    elif not graph.resolution and not size.fits(limit):
        why = f"but this model draws at most {limit}"
        wide = size.width > limit.width
    else:
        return
    name = _name(parameters, width_is_wrong=wide)
    hint = " (the image's or the model's own; give size to have another)" if name == "size" else ""
    cure = f"size_fit: nearest draws {_nearest(size, graph, facts)}"
    raise InvalidRequest(f"The size is {size}{hint}, {why}; {cure}.", param=name, code="invalid_size")


def _name(parameters: GenerationParameters, *, width_is_wrong: bool) -> str:
    """Return the parameter to name: the wrong side if the client gave it, else the other side, else ``size``."""
    given = [side for side in ("width", "height") if getattr(parameters, side) is not None]
    wrong = "width" if width_is_wrong else "height"
    return wrong if wrong in given else next(iter(given), "size")
