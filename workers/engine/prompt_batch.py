"""The number of prompts that a text encoder of the model takes at once, where it keeps that of its first call.

The T5 encoder of OpenVINO GenAI 2026.4.1 encodes the negative prompt and the prompt together where the guidance scale
is above 1, else the prompt alone, and fails when a later call needs the other number. Two work for both: with the
prompt as its own negative prompt, ``negative + scale * (prompt - negative)`` is the prompt's prediction itself at any
scale. The image has the pixels of a call without guidance; it takes the time of one with guidance.
"""

from typing import Any

from graphs.requests.request import ResolvedRequest

_NAMES = {"prompt": "negative_prompt", "prompt_2": "negative_prompt_2", "prompt_3": "negative_prompt_3"}
_ANY_GUIDANCE = 2.0


class PromptBatch:
    """What the encoder of one set of pipelines has kept."""

    def __init__(self, *, is_kept: bool) -> None:
        """``is_kept``: whether the model has such an encoder (``Family.keeps_prompt_batch``)."""
        self._is_kept = is_kept
        self._has_pairs: bool | None = None

    def must_reload(self, request: ResolvedRequest) -> bool:
        """Return whether the pipelines have to be loaded anew to draw this: they keep one prompt, and it needs two."""
        return self._has_pairs is False and request.guidance_scale > 1

    def options(self, request: ResolvedRequest) -> dict[str, Any]:
        """Return what the call of this request has in place of its own guidance scale and negative prompts."""
        if not self._is_kept:
            return {}
        if self._has_pairs is None:
            self._has_pairs = request.guidance_scale > 1
        if not self._has_pairs or request.guidance_scale > 1:
            return {}
        negative = {name: getattr(request, prompt) or request.prompt for prompt, name in _NAMES.items()}
        return {"guidance_scale": _ANY_GUIDANCE, **negative}
