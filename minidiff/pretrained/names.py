"""What the layers of Stable Diffusion are called: here, by diffusers, and in the file that its authors published.

Each table gives (ours, diffusers, original) for each layer, in the order in which they run.
"""

from collections.abc import Iterator

from minidiff.stable_diffusion import (
    AutoencoderKL,
    Downsample,
    PixelAttention,
    ResBlock,
    SpatialTransformer,
    UNetModel,
    Upsample,
)
from minidiff.transformer import TextEncoder

Names = Iterator[tuple[str, str, str]]

RESIDUAL = (
    ("norm1", "norm1", "in_layers.0"),
    ("conv1", "conv1", "in_layers.2"),
    ("time", "time_emb_proj", "emb_layers.1"),
    ("norm2", "norm2", "out_layers.0"),
    ("conv2", "conv2", "out_layers.3"),
    ("shortcut", "conv_shortcut", "skip_connection"),
)
TRANSFORMER = (
    ("norm1", "norm1"),
    ("self_attention.query", "attn1.to_q"),
    ("self_attention.key", "attn1.to_k"),
    ("self_attention.value", "attn1.to_v"),
    ("self_attention.out", "attn1.to_out.0"),
    ("norm2", "norm2"),
    ("cross_attention.query", "attn2.to_q"),
    ("cross_attention.key", "attn2.to_k"),
    ("cross_attention.value", "attn2.to_v"),
    ("cross_attention.out", "attn2.to_out.0"),
    ("norm3", "norm3"),
    ("fc1", "ff.net.0.proj"),
    ("fc2", "ff.net.2"),
)
SPATIAL = (
    ("norm", "norm", "norm"),
    ("proj_in", "proj_in", "proj_in"),
    *((f"block.{ours}", *2 * (f"transformer_blocks.0.{theirs}",)) for ours, theirs in TRANSFORMER),
    ("proj_out", "proj_out", "proj_out"),
)
RESIDUAL_KL = (
    *((name, name, name) for name in ("norm1", "conv1", "norm2", "conv2")),
    ("shortcut", "conv_shortcut", "nin_shortcut"),
)
ATTENTION_KL = (
    ("norm", "group_norm", "norm"),
    ("attention.query", "to_q", "q"),
    ("attention.key", "to_k", "k"),
    ("attention.value", "to_v", "v"),
    ("attention.out", "to_out.0", "proj_out"),
)
OF_2022 = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # as diffusers called them then
WHOLE = (("", "", ""),)  # a layer that has its weights itself
UNET = {  # kind of layer -> its name in a block of diffusers, and the layers in it
    ResBlock: ("resnets.{}", RESIDUAL),
    SpatialTransformer: ("attentions.{}", SPATIAL),
    Downsample: ("downsamplers.0", (("", "conv", "op"),)),
    Upsample: ("upsamplers.0", (("", "conv", "conv"),)),
}
KL = {ResBlock: RESIDUAL_KL, PixelAttention: ATTENTION_KL}
BLOCK = (  # of a text tower
    ("norm1", "layer_norm1", "ln_1"),
    ("attention.query", "self_attn.q_proj", "attn.query"),  # the original has the three in one, split as it is read
    ("attention.key", "self_attn.k_proj", "attn.key"),
    ("attention.value", "self_attn.v_proj", "attn.value"),
    ("attention.out", "self_attn.out_proj", "attn.out_proj"),
    ("norm2", "layer_norm2", "ln_2"),
    ("fc1", "mlp.fc1", "mlp.c_fc"),
    ("fc2", "mlp.fc2", "mlp.c_proj"),
)


def unet(net: UNetModel) -> Names:
    """The layers of a U-Net but for its text module."""
    yield "time_embed.1", "time_embedding.linear_1", "time_embed.0"
    yield "time_embed.3", "time_embedding.linear_2", "time_embed.2"
    yield "down.0.0", "conv_in", "input_blocks.0.0"
    for i, step in enumerate(list(net.down)[1:]):
        level, number = divmod(i, net.blocks + 1)
        yield from _step(step, f"down.{i + 1}", f"down_blocks.{level}", f"input_blocks.{i + 1}", number)
    first, transformer, last = net.mid
    yield from _step([first, transformer], "mid", "mid_block", "middle_block", 0)
    yield from _inside(("mid.2", "mid_block.resnets.1", "middle_block.2"), RESIDUAL)
    for i, step in enumerate(net.up):
        level, number = divmod(i, net.blocks + 1)
        yield from _step(step, f"up.{i}", f"up_blocks.{level}", f"output_blocks.{i}", number)
    yield "out.0", "conv_norm_out", "out.0"
    yield "out.2", "conv_out", "out.2"


def autoencoder(coder: AutoencoderKL) -> Names:
    """The layers of an autoencoder."""
    levels = len(coder.widths)
    down, up = [], []
    for level in range(levels):
        block, turned = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        down += [(f"{block}.resnets.{k}", f"{turned}.block.{k}") for k in range(coder.blocks)]
        down += [(f"{block}.downsamplers.0.conv", f"{turned}.downsample.conv")] * (level < levels - 1)
        block, turned = f"decoder.up_blocks.{level}", f"decoder.up.{levels - 1 - level}"
        up += [(f"{block}.resnets.{k}", f"{turned}.block.{k}") for k in range(coder.blocks + 1)]
        up += [(f"{block}.upsamplers.0.conv", f"{turned}.upsample.conv")] * (level < levels - 1)
    encoder = [2 * ("encoder.conv_in",), *down, *_middle("encoder"), *_ending("encoder"), 2 * ("quant_conv",)]
    decoder = [2 * ("post_quant_conv",), 2 * ("decoder.conv_in",), *_middle("decoder"), *up, *_ending("decoder")]
    for side, theirs in (("encoder", encoder), ("decoder", decoder)):
        layers = [(f"{side}.{i}", layer) for i, layer in enumerate(getattr(coder, side)) if list(layer.parameters())]
        for (ours, layer), names in zip(layers, theirs, strict=True):
            yield from _inside((ours, *names), KL.get(type(layer), WHOLE))


def text(tower: TextEncoder) -> Names:
    """The layers of a text tower: ours, transformers', OpenCLIP's. `pos_embed` is a bare table here."""
    yield "token_embed", "embeddings.token_embedding", "token_embedding"
    yield "pos_embed", "embeddings.position_embedding", "positional_embedding"
    for i in range(tower.layers):
        yield from _inside((f"blocks.{i}", f"encoder.layers.{i}", f"transformer.resblocks.{i}"), BLOCK)
    yield "norm", "final_layer_norm", "ln_final"


def _step(step, ours: str, block: str, original: str, number: int) -> Names:
    for j, layer in enumerate(step):
        name, inside = UNET[type(layer)]
        yield from _inside((f"{ours}.{j}", f"{block}.{name.format(number)}", f"{original}.{j}"), inside)


def _inside(outer: tuple[str, str, str], inside) -> Names:
    for names in inside:
        yield tuple(".".join(filter(None, pair)) for pair in zip(outer, names, strict=True))


def _middle(side: str) -> list[tuple[str, str]]:
    pairs = (("resnets.0", "block_1"), ("attentions.0", "attn_1"), ("resnets.1", "block_2"))
    return [(f"{side}.mid_block.{theirs}", f"{side}.mid.{original}") for theirs, original in pairs]


def _ending(side: str) -> list[tuple[str, str]]:
    return [(f"{side}.conv_norm_out", f"{side}.norm_out"), 2 * (f"{side}.conv_out",)]
