"""Layers of the original Stable Diffusion checkpoints under their diffusers names (two layers a block)."""

import pytest

from graphs.families.stable_diffusion_names import unet_names

LAYERS = ("down_blocks_0_resnets_0_conv1", "down_blocks_0_resnets_1_conv1")


@pytest.mark.parametrize(
    ("original", "diffusers"),
    [
        ("time_embed_2", "time_embedding_linear_2"),
        ("label_emb_0_0", "add_embedding_linear_1"),
        ("input_blocks_1_0_in_layers_2", "down_blocks_0_resnets_0_conv1"),
        ("input_blocks_3_0_op", "down_blocks_0_downsamplers_0_conv"),
        ("input_blocks_5_1_proj_in", "down_blocks_1_attentions_1_proj_in"),
        ("middle_block_1_proj_out", "mid_block_attentions_0_proj_out"),
        ("middle_block_2_out_layers_3", "mid_block_resnets_1_conv2"),
        ("output_blocks_2_1_conv", "up_blocks_0_upsamplers_0_conv"),
        ("output_blocks_4_0_skip_connection", "up_blocks_1_resnets_1_conv_shortcut"),
    ],
)
def test_unet_names(original: str, diffusers: str) -> None:
    assert unet_names(original, LAYERS) == ((diffusers,),)


def test_a_name_of_another_form() -> None:
    assert unet_names("down_blocks_0_resnets_0_conv1", LAYERS) == ()
