"""Checks that the networks of a model fit together and with its configurations, by the shapes of their inputs.

The runtime compares none of these when it loads a model: each first generation fails instead.
"""

from collections.abc import Mapping
from typing import Any

from graphs.definition.graph import Graph
from graphs.errors import RepositoryError
from graphs.families.family import Family
from graphs.repository.network_file import Dimensions, NetworkFile

# The defaults of GenAI for keys that a config.json lacks.
_CHANNELS = 4
_CLIP_TOKENS = 77

Networks = Mapping[str, NetworkFile]
"""The networks of a model by the names of their folders."""
Configs = Mapping[str, Mapping[str, Any]]
"""The content of each folder's config.json."""


def check_shapes(graph: Graph, family: Family, networks: Networks, configs: Configs) -> None:
    """Check the shapes of a graph's model. Raises RepositoryError, which names the file and what does not fit."""
    denoiser = networks["unet" if "unet" in family.components else "transformer"]
    _check_decoder(networks["vae_decoder"], configs["vae_decoder"])
    _check_encoder(networks.get("vae_encoder"))
    _check_channels(denoiser, family, configs)
    _check_prompt_width(denoiser, family, networks)
    _check_pooled(denoiser, family, networks)
    if "unet" in family.components:
        _check_tokens(denoiser, family, configs)
    if not graph.is_static:
        _check_dynamic(denoiser)


def _check_decoder(decoder: NetworkFile, config: Mapping[str, Any]) -> None:
    latent = _latent_channels(config)
    found = _fixed(decoder.input("latent_sample") or _first_input(decoder), 1)
    if found not in (None, latent):
        raise _misfit(decoder, f"it takes {found} channels, and its config.json says latent_channels {latent}")


def _check_encoder(encoder: NetworkFile | None) -> None:
    found = None if encoder is None else _fixed(_first_input(encoder), 1)
    if encoder is not None and found not in (None, 3):
        raise _misfit(encoder, f"it takes {found} channels, and an image has 3")


def _check_channels(denoiser: NetworkFile, family: Family, configs: Configs) -> None:
    taken = denoiser.input("sample", "hidden_states")
    if taken is None or denoiser.input("encoder_hidden_states") is None:
        raise _misfit(denoiser, "it has no inputs for a latent and for a prompt, so it is no denoiser")
    found = taken[-1] if len(taken) == 3 else _fixed(taken, 1)
    allowed = family.denoiser_channels(_latent_channels(configs["vae_decoder"]))
    if found is not None and found not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise _misfit(denoiser, f"it takes {found} channels, and with this VAE a {family} model takes {wanted}")
    if "unet" in family.components and found is not None:
        said = configs["unet"].get("in_channels", _CHANNELS)
        if said != found:
            raise _misfit(denoiser, f"it takes {found} channels, and its config.json says in_channels {said}")


def _check_prompt_width(denoiser: NetworkFile, family: Family, networks: Networks) -> None:
    """The states of the prompt come from CLIP, side by side, for a UNet, and from T5 for a transformer."""
    wanted = (denoiser.input("encoder_hidden_states") or (None,))[-1]
    kind = "CLIP" if "unet" in family.components else "T5"
    encoders = [networks[part] for part in _encoders(family, kind) if part in networks]
    if wanted is None or not encoders:
        return
    is_plain = len(encoders) == 1
    widths = [_width(_first_output(one) if is_plain else _states(one), 3) for one in encoders]
    if None in widths:
        return
    if sum(width or 0 for width in widths) != wanted:
        names = " and ".join(one.path.parent.name for one in encoders)
        gives = "no states" if 0 in widths else f"states of the width {sum(width or 0 for width in widths)}"
        raise _misfit(denoiser, f"it takes states of the width {wanted}, and {names} gives {gives}")


def _check_pooled(denoiser: NetworkFile, family: Family, networks: Networks) -> None:
    """The prompt as one vector: of SDXL's second encoder, else of every CLIP encoder."""
    is_unet = "unet" in family.components
    parts = _encoders(family, "CLIP")
    taken = denoiser.input("text_embeds" if is_unet else "pooled_projections")
    if is_unet:
        parts = parts[1:]
    if taken is None or taken[-1] is None or not parts:
        return
    widths = [_width(_first_output(networks[one]) if is_unet else _vector(networks[one]), 2) for one in parts]
    if None not in widths and sum(width or 0 for width in widths) != taken[-1]:
        names = " and ".join(parts)
        raise _misfit(denoiser, f"it takes a prompt's vector of the width {taken[-1]}, which {names} does not give")


def _check_tokens(denoiser: NetworkFile, family: Family, configs: Configs) -> None:
    wanted = _fixed(denoiser.input("encoder_hidden_states") or (), 1)
    for part in _encoders(family, "CLIP"):
        said = configs[part].get("max_position_embeddings", _CLIP_TOKENS)
        if wanted is not None and said != wanted:
            reason = f"it takes {wanted} tokens, and {part}/config.json says max_position_embeddings {said}"
            raise _misfit(denoiser, reason)


def _check_dynamic(denoiser: NetworkFile) -> None:
    taken = denoiser.input("sample", "hidden_states") or ()
    sides = taken[1:2] if len(taken) == 3 else taken[2:]
    if any(side is not None for side in (*taken[:1], *sides)):
        shape = ",".join("?" if side is None else str(side) for side in taken)
        reason = f"it takes one shape only ({shape}), and the graph allows several sizes; write one resolution there"
        raise _misfit(denoiser, reason)


def _encoders(family: Family, kind: str) -> list[str]:
    return [part for part, name in family.components.items() if name.startswith(kind)]


def _latent_channels(config: Mapping[str, Any]) -> int:
    channels = config.get("latent_channels", _CHANNELS)
    return channels if isinstance(channels, int) else _CHANNELS


def _first_input(network: NetworkFile) -> Dimensions:
    return network.inputs[0].dimensions if network.inputs else ()


def _first_output(network: NetworkFile) -> Dimensions:
    return network.outputs[0] if network.outputs else ()


def _states(network: NetworkFile) -> Dimensions:
    return next((output for output in network.outputs if len(output) == 3), ())


def _vector(network: NetworkFile) -> Dimensions:
    return next((output for output in network.outputs if len(output) == 2), ())


def _width(output: Dimensions, rank: int) -> int | None:
    """Return the last side of an output of this rank, None where it is not fixed, and 0 for another rank."""
    return output[-1] if len(output) == rank else 0


def _fixed(dimensions: Dimensions, index: int) -> int | None:
    return dimensions[index] if len(dimensions) > index else None


def _misfit(network: NetworkFile, reason: str) -> RepositoryError:
    return RepositoryError(f"{network.path}: This network does not fit: {reason}. Export the model again.")
