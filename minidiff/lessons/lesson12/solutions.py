"""The answers of lesson 12: what the learner writes, and the predictions."""

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


def spatial_transformer(layer, h, words):
    """layer: a SpatialTransformer; h (B, C, H, W); words (B, L, D) -> h plus what its pixels gather, of h's shape."""
    block = layer.block
    x = layer.proj_in(layer.norm(h).flatten(2).mT)  # (B, H W, C)
    x = x + block.self_attention(block.norm1(x))
    x = x + block.cross_attention(block.norm2(x), words)
    value, gate = block.fc1(block.norm3(x)).chunk(2, dim=2)
    x = x + block.fc2(value * F.gelu(gate))
    return h + layer.proj_out(x).mT.unflatten(2, h.shape[2:])


def leading_times(steps):
    """The published times of a run of `steps` steps, (steps + 1,), falling: those of its steps, and then 1/1000."""
    ratio = 1000 // steps
    counted = torch.arange(steps - 1, -1, -1) * ratio + 2
    return torch.cat([counted, torch.ones(1)]) / 1000


def draw(model, prompts, z, t, scale):
    """Text to image: texts, noise z (B, C, h, w), falling times t, scale of guidance -> pictures (B, 3, H, W)."""
    told, nothing = model.read(prompts), model.read([""] * len(prompts))
    for now, then in zip(t[:-1].tolist(), t[1:].tolist()):
        with_words = model.denoiser(z, torch.tensor(now), told)
        without = model.denoiser(z, torch.tensor(now), nothing)
        x0 = without + scale * (with_words - without)
        (alpha, sigma), (alpha_then, sigma_then) = model.schedule(now), model.schedule(then)
        z = (alpha_then * x0 + sigma_then * (z - alpha * x0) / sigma).float()
    return model.decode(z)


def padded(ids, length, start, end):
    """Token ids of a text, a list -> a row of `length` ids: start, the text, end, and then end again and again.

    ValueError for a text that does not fit.
    """
    if len(ids) + 2 > length:
        raise ValueError(f"ids: got {len(ids)} tokens, expected at most {length - 2}")
    row = [start, *ids, end]
    return row + [end] * (length - len(row))


def alpha_bar(first, last, steps):
    """alpha_bar at the times 1/steps, 2/steps, ... 1, (steps,), where the square roots of the betas lie on a line."""
    betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def halve(conv, h):
    """conv: a 3x3 convolution of stride 2 without padding; h (B, C, H, W), H and W even -> (B, C', H / 2, W / 2).

    Zeros stand to the right and below only.
    """
    return conv(F.pad(h, (0, 1, 0, 1)))


def heads_of(config):
    """A U-Net's published configuration, a dict -> the number of heads at each of its levels, a list of whole numbers.

    "block_out_channels" has the channels of each level. "num_attention_heads" counts if it is there and not None, else
    "attention_head_dim". Either is one number for all levels, or a list.
    """
    heads = config.get("num_attention_heads") or config["attention_head_dim"]
    return [heads] * len(config["block_out_channels"]) if isinstance(heads, int) else list(heads)


def rescaled(alpha_bar):
    """alpha_bar (T,), falling -> one that ends at 0 and begins where it did. Its roots are shifted and scaled."""
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


question(
    "12.predict_where",
    answer="b",
    hints={
        "a": "The text is read once. How often does the generator work?",
        "c": "One pass of the decoder is dear, but it is one pass. Count the passes of the others.",
    },
    why="with guidance the U-Net is asked twice at every step, 40 times for 20 steps, and the other two once each",
)
question(
    "12.predict_end",
    answer="b",
    hints={
        "a": "The network is told at t = 1 that there is nothing but noise. Was that so in training?",
        "c": "The last step is where detail is decided. What is decided in the first?",
    },
    why="training never showed pure noise: at t = 1 a little of each picture was left, so the network trusts the "
    "brightness of what it is given, and pure noise has a medium one",
)
question(
    "12.predict_scale",
    answer="b",
    hints={
        "a": "More words obeyed is what it is for. But what happens to different answers to the same words?",
        "c": "The estimate moves away from what the model draws without words, further than any picture it knows.",
    },
    why="up to a point the words are obeyed more, and the pictures of one text become more alike; beyond, estimates "
    "leave the range of codes",
)
