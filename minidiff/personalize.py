"""Lesson 15: a thing of your own in a trained text-to-image model, from four pictures, in four ways.

Textual inversion (2208.01618) trains the vector of a new word, DreamBooth (2208.12242) all weights, LoRA (2106.09685)
two thin matrices beside each layer of attention, a hypernetwork small networks in front of its keys and values. `tune`
does each, and what it returns is an `Adapter` beside a model that stays as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from minidiff.adapter import HOWS, ROW, TABLE, Adapter, HyperNetwork, LoRA, NewWord, small_networks, worn
from minidiff.latent import LatentDiffusion
from minidiff.nn import Attention
from minidiff.support import expect
from minidiff.support.rng import numbered

RATES = {"textual inversion": 2e-2, "dreambooth": 3e-4, "lora": 2e-3, "hypernetwork": 1e-3}  # Adam's, for our models
CAPTION = "a photo of a {}"
BATCH = 8  # own pictures a step, and as many of the prior


def fresh(
    model: LatentDiffusion, word: str, how: str, like: str | None = None, rank=4, alpha=None, layers="attention"
) -> Adapter:
    """An untrained adapter, with which a model only knows one word more. Arguments as in `tune`."""
    how = expect.choice("how", how, HOWS)
    rank = expect.integer("rank", rank, 1)
    net = model.denoiser.net
    weights = {ROW: _first_vector(model, like)}
    settings = {}
    if how == "lora":
        settings = {"rank": rank, "alpha": rank if alpha is None else expect.number("alpha", alpha)}
        for name in LAYERS[expect.choice("layers", layers, LAYERS)](net):
            weights |= _pair(name, net.get_submodule(name).weight, rank)
    if how == "hypernetwork":
        for name in word_layers(net):
            nets = small_networks(net.get_submodule(name).weight.shape[1])
            weights |= {f"{name}.{key}": value for key, value in nets.state_dict().items()}
    return Adapter(how, word, weights, settings)


def tune(
    model, pictures, word, how="lora", steps=400, *, captions=None, prior=None, weight=1.0, lr=None, seed=0, **options
) -> Adapter:
    """An adapter of a LatentDiffusion for a few pictures (N, C, H, W) in [-1, 1] of one thing, which `word` stands for.

    captions: of the pictures, with {} for the word. how: one of HOWS. prior: prompts whose pictures, drawn by the model
    beforehand, it is shown in every step too, counted `weight` times, so that it does not forget them (2208.12242,
    eq. 2). lr: Adam's. options: `like`, a known word whose vector the new one begins with, and of a LoRA its `rank`,
    `alpha` and `layers`, "attention" or "all". Afterwards the model is what it was. ValueError for a word that it knows
    already.
    """
    expect.tensor("pictures", pictures, "N C H W", low=-1, high=1)
    steps = expect.integer("steps", steps, 1)
    weight = expect.number("weight", weight, 0)
    captions = _captions(captions, len(pictures))
    with numbered(model.scale.device, seed, -1):
        adapter = fresh(model, word, how, **options)
        own = model.encode(pictures)
        known = _drawn(model, prior)
    with _frozen(model.denoiser.net) as weights, worn(model, adapter):
        ids = model.ids([caption.format(adapter.word) for caption in captions])
        loss = partial(_loss, model, own, ids, known, weight)
        train = partial(_train, loss, steps, lr or RATES[how], seed)
        return _tuned(model.denoiser.net, adapter, weights, train)


def prior_preservation(losses: Tensor, own: int, weight: float = 1.0) -> Tensor:
    """The mean of the first `own` losses (B,), of the thing, plus weight times that of the others, of the prior.

    Source: 2208.12242, eq. 2. A scalar. Without a prior, own = B, it is the first mean alone.
    """
    own = expect.integer("own", own, 1, len(expect.tensor("losses", losses, "B")))
    thing = losses[:own].mean()
    return thing if own == len(losses) else thing + weight * losses[own:].mean()


def attention_layers(net: nn.Module) -> list[str]:
    """The names of the linear layers of attention in a network, but for those of its text tower."""
    found = [name for name, layer in net.named_modules() if isinstance(layer, Attention)]
    found = [name for name in found if not name.startswith("text.")]
    return [f"{name}.{leaf}" for name in found for leaf in ("query", "key_value", "out")]


def word_layers(net: nn.Module) -> list[str]:
    """The names of the layers that make keys and values of words: what a hypernetwork stands in front of."""
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, Attention)]
    return [f"{name}.key_value" for name, layer in layers if layer.context is not None]


def every_layer(net: nn.Module) -> list[str]:
    """The names of all linear layers and convolutions but those that read the text: what a LoCon changes."""
    found = [_plain(net, name) for name, layer in net.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [name for name in found if name and not name.startswith("text.")]


LAYERS = {"attention": attention_layers, "all": every_layer}


def _plain(net: nn.Module, name: str) -> str:
    """What a layer or a weight is called with nothing put on the network; "" for what was put on it itself."""
    kept, module = [], net
    for leaf in name.split("."):
        on = isinstance(module, NewWord | LoRA | HyperNetwork)
        if on and leaf != "layer":
            return ""
        kept += [] if on else [leaf]
        module = getattr(module, leaf)
    return ".".join(kept)


def _pair(name: str, weight: Tensor, rank: int) -> dict[str, Tensor]:
    """A new LoRA of a layer: down at random, as a linear layer begins, and up zero."""
    out, *into = weight.shape
    limit = weight[0].numel() ** -0.5
    up = torch.zeros(out, rank, *[1] * len(into[1:]))
    return {f"{name}.down": torch.empty(rank, *into).uniform_(-limit, limit), f"{name}.up": up}


def _first_vector(model: LatentDiffusion, like: str | None) -> Tensor:
    """The mean vector of a known word, or one at random, as large as those of the table: (1, D)."""
    table = model.denoiser.net.get_submodule(TABLE).weight.detach()
    if like is None:
        return table.std() * torch.randn(1, table.shape[1]).to(table)
    if not (ids := model.tokenizer.encode(like)[1:-1]):
        raise ValueError(f"like: got {like!r:.60}, expected a word that the model knows")
    return table[ids].mean(0, keepdim=True)


def _captions(captions, rows: int) -> list[str]:
    captions = [CAPTION] * rows if captions is None else list(captions)
    if len(captions) != rows or not all(caption.count("{}") == 1 for caption in captions):
        raise ValueError(f"captions: got {captions!r:.80}, expected {rows} texts, each with one {{}} for the word")
    return captions


def _drawn(model: LatentDiffusion, prior: list[str] | None) -> tuple[Tensor, Tensor] | None:
    """The codes that the model draws of the prompts, and their ids."""
    if not prior:
        return None
    return model.generate(model.read(prior)), model.ids(prior)


@contextmanager
def _frozen(net: nn.Module) -> Iterator[dict[str, nn.Parameter]]:
    """Its own weights by plain names; inside, none is trained unless it is asked for, and afterwards as before."""
    weights = dict(net.named_parameters())
    needed = {name: weight.requires_grad for name, weight in weights.items()}
    net.requires_grad_(False)
    try:
        yield {plain: weight for name, weight in weights.items() if (plain := _plain(net, name))}
    finally:
        for name, weight in weights.items():
            weight.requires_grad_(needed[name])


def _tuned(net: nn.Module, adapter: Adapter, weights: dict[str, nn.Parameter], train: Callable) -> Adapter:
    """Train what its kind says, and only that. What is on the network shares its numbers with the adapter."""
    if adapter.how == "dreambooth":
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        train([*weights.values(), net.get_submodule(TABLE).row])
        for name, weight in weights.items():
            adapter.weights[name] = weight.detach() - before[name]
            weight.data.copy_(before[name])
    elif adapter.how == "textual inversion":
        train([net.get_submodule(TABLE).row])
    else:
        layers = [layer for layer in net.modules() if isinstance(layer, LoRA | HyperNetwork)]
        train([p for layer in layers for name, p in layer.named_parameters() if not name.startswith("layer.")])
    return adapter


def _train(loss: Callable, steps: int, lr: float, seed: int, parameters: list[nn.Parameter]) -> None:
    """Adam on these parameters; the draws of a step are a function of the seed and its number."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr)
    for step in range(steps):
        with numbered(parameters[0].device, seed, step):
            value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()


def _loss(model: LatentDiffusion, own: Tensor, ids: Tensor, known, weight: float) -> Tensor:
    """Prior preservation on a batch of the pictures and, behind them, of the prior's."""
    z, told = _some(own, ids)
    if known is not None:
        z, told = (torch.cat(both) for both in zip((z, told), _some(*known)))
    t = model.schedule.grid[torch.randint(model.schedule.steps, (len(z),))].to(z.device)
    return prior_preservation(model.denoiser.losses(z, t, torch.randn_like(z), told), BATCH, weight)


def _some(z: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.randint(len(z), (BATCH,))
    return z[rows], ids[rows]
