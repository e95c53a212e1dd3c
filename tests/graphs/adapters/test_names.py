"""The names of tensors in files of public projects, against all layers of the real architectures."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from graphs.adapters.fit import fit_adapter
from graphs.adapters.keys import T5, AdapterKey, read_key
from graphs.adapters.layers import read_layers
from graphs.adapters.targets import AdapterTargets
from graphs.adapters.updates import AdapterFit, Coverage
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import read_model_facts
from tests.graphs.adapters.key_lists import KEY_LISTS, KeyList
from tests.graphs.adapters.key_rules import names
from tests.graphs.adapters.layer_models import write_model

RANK = 2
# What stands in front of a CLIP encoder's layers in exports by older and newer transformers.
WRAPPERS = ("text_model.", "model.", "")
Models = Mapping[tuple[str, str], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    return {
        (name, wrapper): write_model(folder / f"{name}-{number}", name, wrapper)
        for name in ("SD 1.5", "SD 2.1", "SDXL", "SD3", "SD3.5", "FLUX")
        for number, wrapper in enumerate(WRAPPERS)
    }


def fit(path: Path, model: Path) -> AdapterFit:
    return fit_adapter(path, model, read_model_facts(model).family)


def write_adapter(path: Path, keys: Iterable[str], model: Path) -> Path:
    """Write tensors of these names, in the shapes that the model's layers of these names take."""
    targets = AdapterTargets(model, read_model_facts(model).family)
    tensors = {}
    for key in keys:
        read = read_key(key)
        tensors[key] = np.zeros(shape_of(read, targets) if read else (1,), np.float16)
    save_file(tensors, path)
    return path


def shape_of(key: AdapterKey, targets: AdapterTargets) -> tuple[int, ...]:
    layers = [target.layer for target in targets.find(key)]
    outputs = sum(layer.outputs for layer in layers) or RANK
    inputs, kernel = (layers[0].inputs, layers[0].kernel) if layers else (RANK, 1)
    side = round(kernel**0.5)
    shapes: dict[str, tuple[int, ...]] = {
        "down": (RANK, inputs) if kernel == 1 else (RANK, inputs, side, side),
        "up": (outputs, RANK),
        "alpha": (),
        "lokr_w1": (1, 1),
        "lokr_w2": (outputs, inputs),
    }
    return shapes[key.part]


def module_of(name: str) -> tuple[str, str]:
    key = read_key(name)
    assert key is not None, name
    return key.component, key.module


def without_wrapper(module: str) -> str:
    return module.removeprefix("text_model_")


@pytest.mark.parametrize(
    ("listed", "wrapper"),
    [
        pytest.param(
            listed, wrapper, marks=[] if number % len(WRAPPERS) == place else pytest.mark.thorough, id=listed.source
        )
        for number, listed in enumerate(KEY_LISTS)
        for place, wrapper in enumerate(WRAPPERS)
    ],
)
def test_the_names_of_public_projects(listed: KeyList, wrapper: str, models: Models, tmp_path: Path) -> None:
    assert len(listed.keys) == listed.count
    model = models[listed.model, wrapper]
    path = write_adapter(tmp_path / "a.safetensors", listed.keys, model)

    if listed.refused is not None:
        with pytest.raises(AdapterMisfit) as caught:
            fit(path, model)
        assert listed.refused in caught.value.message
        return
    found = fit(path, model)

    modules = {module_of(key) for key in listed.keys}
    matched = {module_of(update.key) for update in found.updates}
    left_out = [module.replace(".", "_") for rule in listed.left_out for module in names(rule)]
    assert len(modules) == listed.modules
    assert sorted(module for _, module in modules - matched) == sorted(map(without_wrapper, left_out))
    assert len({(update.target.component, update.target.layer) for update in found.updates}) == len(found.updates)


def test_every_list_has_its_row_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "lora.md").read_text(encoding="utf-8")

    rows = [line for line in text.splitlines() if line.count("|") == 5 and line.split("|")[2].strip().isdigit()]
    assert rows == [listed.row for listed in KEY_LISTS]


# How trainers name a layer, by the path of its module in the diffusers or transformers model: the form and the parts.
FORMS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "kohya": (
        {
            "denoiser": "lora_unet_{_}",
            "text_encoder": "lora_te1_text_model_{_}",
            "text_encoder_2": "lora_te2_text_model_{_}",
        },
        ".{alpha,lora_down.weight,lora_up.weight}",
    ),
    "kohya, one encoder": ({"text_encoder": "lora_te_text_model_{_}"}, ".lora_{down,up,mid}.weight"),
    "kohya, newer transformers": (
        {"text_encoder": "lora_te1_{_}", "text_encoder_2": "lora_te2_{_}"},
        ".{hada_w{1,2}_{a,b},lokr_w{1,2},lokr_w2_{a,b},diff,alpha}",
    ),
    "kohya, named encoders": (
        {"text_encoder": "lora_te1_clip_l_text_model_{_}", "text_encoder_2": "lora_te2_clip_g_text_model_{_}"},
        ".lora_{down,up}.weight",
    ),
    "PEFT": (
        {
            "denoiser": "base_model.model.{.}",
            "text_encoder": "base_model.model.text_model.{.}",
            "text_encoder_2": "text_encoder_2.base_model.model.text_model.{.}",
        },
        ".lora_{A,B}{,.default,.default_0,.style}.weight",
    ),
    "PEFT, newer transformers": (
        {"text_encoder": "base_model.model.{.}", "text_encoder_2": "text_encoder_2.{.}"},
        ".lora_{A,B}.weight",
    ),
    "diffusers": (
        {
            "denoiser": "{unet,transformer}.{.}",
            "text_encoder": "text_encoder.text_model.{.}",
            "text_encoder_2": "text_encoder_2.text_model.{.}",
        },
        ".{lora_{A,B},lora.{down,up},lora_linear_layer.{down,up}}.weight",
    ),
    "diffusers, old": (
        {
            "denoiser": "unet.{old}",
            "text_encoder": "text_encoder.text_model.{old}",
            "text_encoder_2": "text_encoder_2.text_model.{old}",
        },
        "_lora.{down,up}.weight",
    ),
    "ai-toolkit": ({"denoiser": "{diffusion_model,transformer}.{.}"}, ".lora_{A,B}.weight"),
    "LyCORIS": ({"denoiser": "lycoris_{_}"}, ".{lokr_w1,lokr_w2,alpha}"),
    "ComfyUI": (
        {
            "denoiser": "diffusion_model.{.}",
            "text_encoder": "text_encoders.clip_{l,h}.transformer.text_model.{.}",
            "text_encoder_2": "text_encoders.clip_g.transformer.text_model.{.}",
        },
        ".lora_{down,up}.weight",
    ),
    "OneTrainer": (
        {
            "denoiser": "lora_transformer_{_}",
            "text_encoder": "clip_l.text_model.{.}",
            "text_encoder_2": "clip_g.text_model.{.}",
        },
        ".lora_{down,up}.weight",
    ),
}


def named(form: str, module: str, wrapped: bool) -> str:
    """Return a rule for the names of a module; a layer outside of the wrapper does not get it."""
    old = module.replace(".attn1.", ".attn1.processor.").replace(".attn2.", ".attn2.processor.").removesuffix(".0")
    for leaf in "qkv":
        old = old.replace(f"self_attn.{leaf}_proj", f"self_attn.to_{leaf}")
    old = old.replace("self_attn.out_proj", "self_attn.to_out")
    form = form if wrapped else form.replace("text_model_", "").replace("text_model.", "")
    return form.replace("{_}", module.replace(".", "_")).replace("{.}", module).replace("{old}", old)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", ["SD 1.5", "SD 2.1", "SDXL", "SD3", "SD3.5", "FLUX"])
def test_every_layer_under_the_names_of_every_trainer(model: str, form: str, models: Models) -> None:
    forms, parts = FORMS[form]
    for wrapper in WRAPPERS:
        folder = models[model, wrapper]
        family = read_model_facts(folder).family
        targets = AdapterTargets(folder, family)
        for component, part in family.adapter_components.items():
            if component not in forms or (component == "denoiser" and wrapper != WRAPPERS[0]):
                continue
            for path, layer in read_layers(folder / part.folder / "openvino_model.xml").items():
                module = path.removeprefix("model.").removeprefix("text_model.")
                for name in names(named(forms[component], module, wrapped=".layers." in path) + parts):
                    key = read_key(name)
                    assert key is not None, name
                    assert [target.layer for target in targets.find(key)] == [layer], name


@pytest.mark.parametrize(
    "name", ["lora_te3_encoder_block_0_layer_0_SelfAttention_q", "t5.encoder.block.0.layer.0.SelfAttention.q"]
)
def test_t5_is_left_out(name: str, models: Models, tmp_path: Path) -> None:
    keys = [f"transformer.{name}.lora_{part}.weight" for name in ("x_embedder", "proj_out") for part in ("down", "up")]
    for model in (models["FLUX", ""], models["SD3", ""]):
        keys = [key for key in keys if "SD3" not in model.name or "x_embedder" not in key]
        found = fit(write_adapter(tmp_path / "a.safetensors", [*keys, f"{name}.lora_down.weight"], model), model)

        assert found.coverage.components[T5] == Coverage(0, 1)
        assert (
            found.coverage.left_out is not None
            and "applies no adapter to the T5 text encoder" in found.coverage.left_out
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("double_blocks.0.img_attn.proj.lora_B.bias", "LoRA with trained biases"),
        ("transformer.x_embedder.lora_B.default.bias", "LoRA with trained biases"),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "fine-tuning of normalisation layers"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.dora_scale", "DoRA, a LoRA with trained magnitudes"),
        ("unet.conv_in.lora_magnitude_vector.default.weight", "DoRA, a LoRA with trained magnitudes"),
        ("bundle_emb.fox.string_to_param.clip_l", "textual inversion (an embedding)"),
        ("base_model.model.x_embedder.oft_R.weight", "OFT, which multiplies the weights"),
        ("double_blocks.0.img_attn.qkv.weight", "whole model, not an adapter"),
    ],
)
def test_other_kinds_are_refused_by_name(name: str, kind: str, models: Models, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: np.ones((RANK, RANK), np.float32)}, path)

    with pytest.raises(AdapterMisfit) as caught:
        fit(path, models["FLUX", ""])
    assert f"its kind, {kind}, cannot be applied here (the tensor {name!r} shows it)" in caught.value.message


def test_a_file_of_another_model_is_refused_without_a_search_for_each_tensor(models: Models, tmp_path: Path) -> None:
    keys = names("lora_unet_transformer_blocks_{0-999}_nowhere_{a,b,c}.lora_{down,up}.weight")
    model = models["FLUX", ""]

    with pytest.raises(AdapterMisfit, match="has no layer 'transformer_blocks_0_nowhere_a'"):
        fit(write_adapter(tmp_path / "a.safetensors", keys, model), model)
