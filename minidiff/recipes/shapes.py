"""What the recipes of lessons 09 and 10 are made of: pictures with words, and models that read them."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from minidiff import data, generate, pick
from minidiff.clip import CLIP, NoisyCLIP
from minidiff.data.photos import CAPTIONS
from minidiff.data.shapes.scene import FRAMES, Scene, caption, imagine
from minidiff.denoiser import Denoiser
from minidiff.latent import SIZE, KLAutoencoder, LatentDiffusion
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine
from minidiff.transformer import TextEncoder, Tokenizer, VisionTransformer, WordEmbedding
from minidiff.unet import UNet


@cache
def tokenizer() -> Tokenizer:
    """The course's: each word of the captions of `shapes` and of the photographs is one token, 24 tokens a text."""
    return Tokenizer.train([*_said(), *CAPTIONS.values()], vocabulary=700, length=24)


@cache
def reader(photographs: bool = False) -> Tokenizer:
    """The same for a model of `shapes`, or of the photographs too: it leaves out the words that those do not teach."""
    return tokenizer().knowing([*_said(), *(CAPTIONS.values() if photographs else ())])


@cache
def _said() -> list[str]:
    """Captions enough to have every word of this world."""
    rng = np.random.default_rng(0)  # scenes and no pictures: those would be tensors, on whatever device is the default
    return [caption(imagine(rng, "train"), rng) for _ in range(2000)]


def rows(split: str) -> int:
    """How many pictures of `shapes`: 20,000 to train on, 2,000 to test; in profile ci, for 20 steps, 2,000."""
    return pick(ci=2000, cpu=20_000, gpu=20_000) if split == "train" else 2000


def captioned(split: str) -> tuple[Tensor, Tensor]:
    """Pictures of `shapes` (N, 3, 32, 32) and the token ids of their captions (N, 24)."""
    images, captions = data.shapes(split, rows(split))
    return images, tokenizer()(captions)


def codes(split: str, autoencoder: nn.Module, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """The codes (N, 8, 8, 8) of those pictures in a trained autoencoder, and the same token ids."""
    images, ids = captioned(split)
    return _codes(autoencoder, split, len(images)), ids


@cache
def _codes(autoencoder: nn.Module, split: str, n: int) -> Tensor:
    images = data.shapes(split, n)[0]
    return encoded(autoencoder.to(images.device), images)


@torch.no_grad()
def encoded(autoencoder: nn.Module, images: Tensor) -> Tensor:
    """The codes (N, latent, h, w) of many pictures, mu alone."""
    return torch.cat([autoencoder.encode(part)[0] for part in images.split(256)])


def latent_diffusion(drop: float = 0.1, **sizes) -> LatentDiffusion:
    """Words to codes of `shapes`: `worded` with the words and the autoencoder of that world."""
    return worded(reader(), KLAutoencoder(), drop, **sizes)


def worded(words: Tokenizer, autoencoder: nn.Module, drop: float = 0.1, **sizes) -> LatentDiffusion:
    """Words to codes, on the cosine schedule; a share `drop` of the texts is hidden in training.

    It predicts x0, so that the loss looks where words matter, at large t, and not at the grain of a nearly clean code.
    """
    blank = words.encode("")
    defaults = {"channels": 8, "widths": (64, 128), "attention": (1,), "text": WordEmbedding(words.vocabulary)}
    null = blank + [0] * (words.length - len(blank))  # as numbers: under "meta" a tensor has none
    denoiser = Denoiser(UNet(**(defaults | sizes)), cosine(), predict="x0", null=null, drop=drop)
    return LatentDiffusion(autoencoder, denoiser, words)


def with_autoencoder(model: LatentDiffusion, needed, mu: Tensor, ids: Tensor) -> None:
    """The trained autoencoder goes into a new model, and the size of its codes is measured."""
    model.autoencoder.load_state_dict(needed[0].state_dict())
    model.measure(mu)


def from_last(model: nn.Module, needed, *tensors: Tensor) -> None:
    """A new model begins with the weights of the last one that it needs; what that one lacks stays as it is.

    So "ldm-shapes" begins as a model that draws and never saw a word, and a CLIP that sees noise as one that does not.
    """
    model.load_state_dict(model.state_dict() | needed[-1].state_dict())


def brief(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of shapes and, in every second one, their colours: "there is a red circle", "a cross and a square"."""
    coloured = rng.random() < 0.5
    things = [f"a {thing.colour} {thing.shape}" if coloured else f"a {thing.shape}" for thing in scene.things]
    return FRAMES[rng.integers(len(FRAMES))].format(" and ".join(things))


def paired(split: str, without: str | None = None, n: int | None = None) -> tuple[Tensor, Tensor]:
    """As `captioned`, every second caption a `brief` one, 30,000 to train on: for lesson 11.

    In a batch, a full caption is told from the others by its ground and place alone; for a brief one, shapes must be
    known. n: another number of pictures. without: a shape whose pictures are left out.
    """
    n = n or (pick(ci=2000, cpu=30_000, gpu=30_000) if split == "train" else 2000)
    rng, (images, captions) = np.random.default_rng(0), data.shapes(split, n)
    scenes = data.shapes.scenes(split, n)
    captions[::2] = [brief(scene, rng) for scene in scenes[::2]]
    if without is None:
        return images, tokenizer()(captions)
    kept = [i for i, scene in enumerate(scenes) if without not in [thing.shape for thing in scene.things]]
    return images[kept], tokenizer()([captions[i] for i in kept])


def paired_codes(split: str, autoencoder: nn.Module, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """Codes of such pictures, of the size in which "ldm-shapes" draws them, and the ids of their captions."""
    size = SIZE / codes("train", autoencoder)[0].std()
    return codes(split, autoencoder)[0] * size, paired(split, n=rows(split))[1]


def crops(split: str, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """Squares cut out of the eight photographs, and the ids of their captions."""
    images, captions = data.photo_crops(4000 if split == "train" else 400, seed=0 if split == "train" else 1)
    return images, tokenizer()(captions)


def clip_shapes(photographs: bool = False) -> CLIP:
    """A CLIP of `shapes`: 16 patches a picture, three layers to see and one to read, 64 wide, 32 numbers to compare."""
    return CLIP(VisionTransformer(32, 8, 64, 3, 4), _text_encoder(), 32, reader(photographs))


def clip_codes() -> CLIP:
    """The same for the codes of "ae-shapes", (8, 8, 8)."""
    return CLIP(VisionTransformer(8, 2, 64, 3, 4, channels=8), _text_encoder(), 32, reader())


def clip_noisy_codes() -> NoisyCLIP:
    """The same for codes with noise, on the schedule of "ldm-shapes" so that it can guide it."""
    vision = VisionTransformer(8, 2, 64, 3, 4, channels=8, time=True)
    return NoisyCLIP(vision, _text_encoder(), cosine(), 32, reader())


def _text_encoder() -> TextEncoder:
    return TextEncoder(tokenizer().vocabulary, 64, layers=1, heads=4, length=24)


def captions() -> list[str]:
    """What held-out pictures show: what is drawn where no prompt is given."""
    return data.shapes("test", 1000)[1]


def _latent(steps: int, start: Callable, needs: tuple[str, ...], **sizes) -> Recipe:
    return Recipe(
        partial(latent_diffusion, **sizes),
        codes,
        lengths(steps, 2 * steps),
        (3, 32, 32),
        generate.prompted,
        lr=3e-3,
        needs=needs,
        start=start,
        prompts=captions,
    )


def _clip(build: Callable[..., nn.Module], source: Callable, steps: int = 4500, **more) -> Recipe:
    return Recipe(build, source, lengths(steps, 3 * steps), lr=1e-3, **more)


RECIPES = {
    "ae-shapes": Recipe(
        KLAutoencoder,
        lambda split: captioned(split)[:1],
        lengths(3000, 10_000),
        (3, 32, 32),
        lr=3e-3,
        batch=32,
    ),
    "ldm-shapes-unprompted": _latent(4000, with_autoencoder, ("ae-shapes",), drop=1.0),
    "ldm-shapes": _latent(12_000, from_last, ("ae-shapes", "ldm-shapes-unprompted")),
    "clip-shapes": _clip(clip_shapes, paired),
    "clip-shapes-no-cross": _clip(clip_shapes, partial(paired, without="cross")),
    "clip-photos": _clip(partial(clip_shapes, photographs=True), crops, 300, needs=("clip-shapes",), start=from_last),
    "clip-latents": _clip(clip_codes, paired_codes, 2500, needs=("ae-shapes",)),
    "clip-latents-noisy": _clip(
        clip_noisy_codes, paired_codes, 2500, needs=("ae-shapes", "clip-latents"), start=from_last
    ),
}
