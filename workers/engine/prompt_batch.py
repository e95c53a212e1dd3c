"""The number of prompts that a text encoder of the model takes at once, where it keeps that of its first call.

The T5 encoder of OpenVINO GenAI 2026.4.1 encodes the negative prompt and the prompt together where the guidance scale
is above 1, else the prompt alone, and fails when a later call needs the other number. Two work for both: with the
prompt as its own negative prompt, ``negative + scale * (prompt - negative)`` is the prompt's prediction itself at any
scale. The image has the pixels of a call without guidance; it takes the time of one with guidance.

With adapters it has them up to rounding: a layer that reads one vector for each prompt adds up in another order when it
reads two (1 of 255 in a few values, f32). So the number of prompts of a request with adapters does not depend on the
requests before it: it is that of the request if it has guidance, else that of the graph.
"""

from typing import Any

from graphs.requests.request import ResolvedRequest

_NAMES = {"prompt": "negative_prompt", "prompt_2": "negative_prompt_2", "prompt_3": "negative_prompt_3"}
_ANY_GUIDANCE = 2.0


class PromptBatch:
    """What the encoder of one set of pipelines has kept."""

    def __init__(self, *, is_kept: bool, graph_has_guidance: bool = False) -> None:
        """``is_kept``: whether the model has such an encoder (``Family.keeps_prompt_batch``).

        ``graph_has_guidance``: whether the graph's guidance scale, or else that of its family, is above 1.
        """
        self._is_kept = is_kept
        self._graph_has_guidance = graph_has_guidance
        self._has_pairs: bool | None = None

    def must_reload(self, request: ResolvedRequest) -> bool:
        """Return whether the pipelines have to be loaded anew to draw this: they keep a number that it cannot have."""
        wanted = self._wants_pairs(request)
        return None not in (self._has_pairs, wanted) and self._has_pairs != wanted

    def options(self, request: ResolvedRequest) -> dict[str, Any]:
        """Return what the call of this request has in place of its own guidance scale and negative prompts."""
        if not self._is_kept:
            return {}
        if self._has_pairs is None:
            self._has_pairs = self._wants_pairs(request) or False
        if not self._has_pairs or request.guidance_scale > 1:
            return {}
        negative = {name: getattr(request, prompt) or request.prompt for prompt, name in _NAMES.items()}
        return {"guidance_scale": _ANY_GUIDANCE, **negative}

    def _wants_pairs(self, request: ResolvedRequest) -> bool | None:
        """Return whether the request has to be drawn with two prompts; None: it draws the same with one or two."""
        if request.guidance_scale > 1:
            return True
        return self._graph_has_guidance if request.adapters else None
