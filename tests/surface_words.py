"""Right calls of what lessons 09 to 18 use: latents, words, systems, scores, velocities, students."""

import copy
from functools import partial

import torch
from surface import ROWS, built, eighths, pictures
from torch import nn

from minidiff import (
    adapter,
    autoregressive_prior,
    cascade,
    clip,
    control,
    dalle,
    data,
    distill,
    dit,
    flow_matching,
    gan,
    generate,
    latent,
    personalize,
    sampler,
    schedule,
    score,
    stable_diffusion,
    transformer,
    unclip,
)
from minidiff import nn as parts
from minidiff.denoiser import Denoiser
from minidiff.unet import UNet

B = 4
COSINE = schedule.cosine()
STEPS = {"steps": 2}
TOKENS = transformer.Tokenizer((), length=6)
IDS = TOKENS(["a", "b", "ab", ""])
NULL = TOKENS("")[0]
T, EARLIER = torch.tensor([0.25, 0.5, 0.75, 1.0]), torch.tensor([0.125, 0.25, 0.5, 0.75])
FALLING = torch.tensor([1.0, 0.5, 0.0])
RISING = torch.tensor([0.25, 0.5, 1.0])
LABELS = torch.tensor([2, 0, 1, 2])
X, OTHER, NOISE = (eighths(B, 2, seed=seed) for seed in range(3))
PICTURES, SMALL, SKETCHES = pictures(B, 3, 8, 8), pictures(B, 3, 4, 4), pictures(B, 1, 8, 8).abs().round()
CODES = eighths(B, 2, 4, 4)
UNITS, UNITS_TOO = (nn.functional.normalize(eighths(B, 6, seed=seed), dim=1) for seed in range(2))
DRAWN = eighths(B, 3, 6)
NUMBERS = torch.tensor([[0, 1, 2], [3, 2, 1], [1, 1, 0], [2, 3, 3]])  # of an embedding, in buckets
IMAGE_TOKENS = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [7, 6, 5, 4], [3, 2, 1, 0]])
MASK = torch.arange(16).view(1, 1, 4, 4).repeat(B, 1, 1, 1) % 2 == 0


def half(x, t, cond=None):
    return x / 2


def slope(x, t=None):
    """A score, and a velocity."""
    return -x


def tower():
    return built(transformer.TextEncoder, TOKENS.vocabulary, width=8, layers=1, length=6)


def eyes(**options):
    return built(transformer.VisionTransformer, 8, 4, width=8, layers=1, heads=2, **options)


def text_to_image(net, **options):
    """A latent diffusion of pictures of 8 x 8 with codes of 4 x 4."""
    coder = built(latent.KLAutoencoder, latent=2, f=2, width=8, blocks=1)
    return latent.LatentDiffusion(coder, Denoiser(net, COSINE, null=NULL), TOKENS, size=8).eval()


def models():
    """Name -> model, each once."""
    reader = built(transformer.WordEmbedding, TOKENS.vocabulary, 8, 6)
    unet = partial(built, UNet, widths=(8, 16))
    points = built(parts.PointNet, width=8, layers=1, classes=3)
    words = unet(channels=2, text=reader, attention=(1,))
    embedded = built(unclip.EmbeddingUNet, embedding=6, channels=2, widths=(8, 16))
    prior = built(unclip.PriorNet, tower(), embedding=6, width=8, layers=1, heads=2)
    writer = built(
        autoregressive_prior.NumberNet, tower(), autoregressive_prior.Quantiser(6, 3, 4), 2, width=8, layers=1, heads=2
    )
    enlarging = Denoiser(unet(channels=3, known=4), COSINE)
    vqvae = built(dalle.VQVAE, latent=4, f=4, width=8, blocks=1, codes=8)
    found = {
        "clip": built(clip.CLIP, eyes(), tower(), 6, TOKENS),
        "noisy clip": built(clip.NoisyCLIP, eyes(time=True), tower(), COSINE, 6, TOKENS),
        "latent": text_to_image(words),
        "vqvae": vqvae,
        "dalle": built(dalle.DALLE, vqvae, TOKENS, side=2, width=8, layers=1, heads=2),
        "prior": unclip.Prior(Denoiser(prior, COSINE, "x0", null=NULL), TOKENS).eval(),
        "written prior": autoregressive_prior.AutoregressivePrior(writer, TOKENS).eval(),
        "embedded": unclip.EmbeddingDiffusion(
            built(latent.KLAutoencoder, latent=2, f=2, width=8, blocks=1),
            Denoiser(embedded, COSINE, null=[0] * 6),
            size=8,
        ).eval(),
        "enlarger": cascade.Enlarger(enlarging).eval(),
        "flow": flow_matching.FlowMatching(points, null=3).eval(),
        "points": points,
        "labels": Denoiser(points, COSINE, null=3).eval(),
        "known": unet(channels=3, known=4),
        "language": built(transformer.LanguageModel, TOKENS.vocabulary, width=8, layers=1, heads=2, length=6),
        "reader": reader,
        "gan": built(gan.GAN, classes=3, width=8),
        "stable": built(
            stable_diffusion.UNetModel, tower(), 2, (8, 16), transformers=(0,), blocks=1, heads=(2, 2), groups=4
        ),
        "coder": built(stable_diffusion.AutoencoderKL, latent=2, widths=(8, 8), blocks=1, groups=4),
        "dit": built(dit.DiT, 8, 4, width=8, layers=1, heads=2, channels=3, classes=3),
    }
    found["control"] = built(control.Control, (8, 16), words=8, f=2, drop=0.0).follow(found["latent"])
    found["unclip"] = unclip.UnCLIP(found["clip"], found["prior"], found["embedded"])
    pixels = latent.LatentDiffusion(
        latent.Pixels(), Denoiser(unet(channels=3, text=reader, attention=(1,)), COSINE, null=NULL), TOKENS, size=8
    )
    found["cascade"] = cascade.Cascade(pixels, [found["enlarger"]]).eval()
    for name, student in {"progressive": distill.ProgressiveStudent, "consistency": distill.ConsistencyStudent}.items():
        found[name] = student(copy.deepcopy(points), 3, steps=2).follow(found["flow"]).eval()
    return found


M = models()
HANDED_ON = ("x", "x0", "cond", "null", "context")  # what a denoiser, an encoder or guidance calls what it is given
FREE = "rows, columns, rank, double, half"


def moved(z, ids):
    model = copy.deepcopy(M["vqvae"])
    model.move(z, ids)
    return model.codebook


def called(maker, *args, x, t, **options):
    return maker(*args, **options)(x, t)


def walked(way, *args, **options):
    return sampler.last(way(*args, **options))


# what is called -> (the call, its arguments, the arguments of which other forms are right too: name -> which)
CALLS = {
    "clip.CLIP.encode_image": (M["clip"].encode_image, {"x": PICTURES}, {"x": ROWS}),
    "clip.CLIP.encode_text": (M["clip"].encode_text, {"ids": IDS}, {"ids": ROWS}),
    "clip.CLIP.similarity": (M["clip"].similarity, {"x": PICTURES, "ids": IDS}, {"x": ROWS, "ids": ROWS}),
    "clip.CLIP.terms": (M["clip"].terms, {"x": PICTURES, "ids": IDS}, {}),
    "clip.CLIP.loss": (M["clip"].loss, {"x": PICTURES, "ids": IDS}, {}),
    "clip.CLIP.guide": (lambda ids, x: M["clip"].guide(ids)(x, T), {"ids": IDS, "x": PICTURES}, {}),
    "clip.NoisyCLIP.encode_image": (
        M["noisy clip"].encode_image,
        {"x": PICTURES, "t": T},
        {"t": "scalar, double"},
    ),
    "clip.NoisyCLIP.terms": (M["noisy clip"].terms, {"x0": PICTURES, "ids": IDS}, {}),
    "clip.NoisyCLIP.guide": (
        lambda ids, x, t: M["noisy clip"].guide(ids)(x, t),
        {"ids": IDS, "x": PICTURES, "t": T},
        {"t": "scalar, double"},
    ),
    "clip.matching": (
        partial(clip.matching, scale=torch.tensor(2.0)),
        {"images": UNITS, "texts": UNITS_TOO, "ids": IDS},
        {"ids": "columns"},
    ),
    "clip.contrastive": (
        clip.contrastive,
        {"logits": eighths(B, B), "same": torch.eye(B) > 0},
        {"same": "none"},
    ),
    "clip.embed": (partial(clip.embed, M["clip"]), {"images": PICTURES}, {"images": ROWS}),
    "clip.zero_shot": (
        partial(clip.zero_shot, M["clip"], labels=["a", "b"], templates="{}"),
        {"images": PICTURES},
        {"images": ROWS},
    ),
    "clip.recall": (
        clip.recall,
        {"similarity": eighths(B, 6), "right": eighths(B, 6, seed=1) > 0},
        {"similarity": "double, half", "right": "none"},
    ),
    "latent.KLAutoencoder.encode": (M["latent"].autoencoder.encode, {"x": PICTURES}, {"x": ROWS}),
    "latent.KLAutoencoder.decode": (M["latent"].autoencoder.decode, {"z": CODES}, {"z": "rows, columns"}),
    "latent.KLAutoencoder.forward": (M["latent"].autoencoder, {"x": PICTURES}, {"x": ROWS}),
    "latent.KLAutoencoder.terms": (M["latent"].autoencoder.terms, {"x": PICTURES}, {"x": ROWS}),
    "latent.KLAutoencoder.loss": (M["latent"].autoencoder.loss, {"x": PICTURES}, {"x": ROWS}),
    "latent.Pixels.encode": (latent.Pixels().encode, {"x": PICTURES}, {"x": "rows, columns, double, half"}),
    "latent.Pixels.decode": (latent.Pixels().decode, {"z": PICTURES}, {"z": "rows, columns, double, half"}),
    "latent.LatentDiffusion.measure": (
        lambda mu: copy.deepcopy(M["latent"]).measure(mu),
        {"mu": CODES},
        {"mu": "rows, columns"},
    ),
    "latent.LatentDiffusion.encode": (M["latent"].encode, {"x": PICTURES}, {"x": ROWS}),
    "latent.LatentDiffusion.decode": (M["latent"].decode, {"z": CODES}, {"z": "rows, columns"}),
    "latent.LatentDiffusion.generate": (partial(M["latent"].generate, **STEPS), {"told": IDS}, {"told": ROWS}),
    "latent.LatentDiffusion.loss": (M["latent"].loss, {"mu": CODES, "ids": IDS}, {}),
    "latent.guided": (
        lambda x, t: latent.guided(M["latent"], ["a"] * B)(x, t),
        {"x": CODES, "t": T},
        {"t": "scalar, double"},
    ),
    "latent.image_to_image": (
        partial(latent.image_to_image, M["latent"], prompts="a", strength=0.5, **STEPS),
        {"images": PICTURES},
        {"images": ROWS},
    ),
    "latent.inpaint": (
        partial(latent.inpaint, M["latent"], prompts="a", **STEPS),
        {"images": PICTURES, "mask": MASK.repeat(1, 1, 2, 2)},
        {},
    ),
    "latent.keep_known": (
        partial(called, latent.keep_known, half, t=T),
        {"x": CODES, "known": eighths(B, 2, 4, 4, seed=1), "mask": MASK},
        {"mask": "row"},  # one mask for all
    ),
    "score.value_and_divergence": (
        partial(score.value_and_divergence, slope),
        {"x": X, "probe": NOISE},
        {"probe": "none"},
    ),
    "score.explicit_loss": (partial(score.explicit_loss, slope), {"x": X}, {"x": FREE}),
    "score.sliced_loss": (partial(score.sliced_loss, slope), {"x": X, "v": NOISE}, {}),
    "score.denoising_loss": (
        partial(score.denoising_loss, slope),
        {"x0": X, "sigma": T[:, None], "eps": NOISE},
        {"sigma": "single, rows row, double"},
    ),
    "score.langevin": (partial(walked, score.langevin, slope, step=0.1, **STEPS), {"x": X}, {"x": FREE}),
    "score.annealed": (
        partial(walked, score.annealed, half, schedule=COSINE),
        {"x": X, "times": FALLING},
        {"x": FREE, "times": "double, half"},
    ),
    "score.reverse_sde": (
        partial(walked, score.reverse_sde, half, schedule=COSINE),
        {"x": X, "times": FALLING},
        {"x": FREE, "times": "double, half"},
    ),
    "score.predictor_corrector": (
        partial(walked, score.predictor_corrector, half, schedule=COSINE),
        {"x": X, "times": FALLING},
        {"x": FREE, "times": "double, half"},
    ),
    "score.SDE.drift": (partial(score.SDE(COSINE).drift, t=0.5), {"x": X}, {"x": FREE}),
    "score.SDE.reverse_drift": (partial(score.SDE(COSINE).reverse_drift, t=0.5), {"x": X, "x0": OTHER}, {}),
    "score.SDE.flow_drift": (partial(score.SDE(COSINE).flow_drift, t=0.5), {"x": X, "x0": OTHER}, {}),
    "score.log_prob": (
        partial(score.log_prob, half, schedule=COSINE),
        {"x": X, "times": RISING, "probe": NOISE},
        {"times": "rows, double, half", "probe": "none"},
    ),
    "score.precondition": (score.precondition, {"sigma": T}, {"sigma": FREE + ", scalar, single"}),
    "flow_matching.FlowMatching.velocity": (
        M["flow"].velocity,
        {"x": X, "t": T, "cond": LABELS},
        {"t": "scalar, double", "cond": "none"},
    ),
    "flow_matching.FlowMatching.loss": (M["flow"].loss, {"x0": X, "cond": LABELS}, {"cond": "none"}),
    "flow_matching.optimal_coupling": (flow_matching.optimal_coupling, {"x0": X, "eps": NOISE}, {}),
    "flow_matching.euler": (
        partial(walked, flow_matching.euler, slope),
        {"x": X, "times": FALLING},
        {"x": FREE, "times": "double, half"},
    ),
    "flow_matching.transport_cost": (flow_matching.transport_cost, {"x0": X, "eps": NOISE}, {}),
    "dalle.quantise": (
        dalle.quantise,
        {"z": eighths(B, 3, 2, 2), "codebook": eighths(5, 3, seed=1)},
        {"z": "rows, columns", "codebook": ROWS},
    ),
    "dalle.VQVAE.encode": (M["vqvae"].encode, {"x": PICTURES}, {"x": ROWS}),
    "dalle.VQVAE.codes_of": (M["vqvae"].codes_of, {"x": PICTURES}, {"x": ROWS}),
    "dalle.VQVAE.decode": (M["vqvae"].decode, {"ids": IMAGE_TOKENS.view(B, 2, 2)}, {"ids": "rows, columns"}),
    "dalle.VQVAE.forward": (M["vqvae"], {"x": PICTURES}, {"x": ROWS}),
    "dalle.VQVAE.terms": (M["vqvae"].terms, {"x": PICTURES}, {"x": ROWS}),
    "dalle.VQVAE.loss": (M["vqvae"].loss, {"x": PICTURES}, {"x": ROWS}),
    "dalle.VQVAE.move": (moved, {"z": eighths(B, 4, 2, 2), "ids": IMAGE_TOKENS.view(B, 2, 2)}, {}),
    "dalle.choose": (dalle.choose, {"logits": eighths(B, 6)}, {"logits": FREE}),
    "dalle.DALLE.logits": (
        M["dalle"].logits,
        {"ids": IDS, "tokens": IMAGE_TOKENS},
        {"ids": "columns", "tokens": "columns"},
    ),
    "dalle.DALLE.loss": (
        M["dalle"].loss,
        {"tokens": IMAGE_TOKENS, "ids": IDS},
        {"ids": "columns", "tokens": "columns"},
    ),
    "dalle.DALLE.generate": (
        M["dalle"].generate,
        {"ids": IDS, "given": IMAGE_TOKENS[:, :2]},
        {"ids": "columns", "given": "none, columns"},
    ),
    "dalle.DALLE.decode": (M["dalle"].decode, {"tokens": IMAGE_TOKENS.view(B, 2, 2)}, {"tokens": "rows, columns"}),
    "unclip.TextReader.embed_text": (M["prior"].denoiser.net.embed_text, {"ids": IDS}, {"ids": ROWS}),
    "unclip.PriorNet.forward": (
        M["prior"].denoiser.net,
        {"x": UNITS, "t": T, "ids": IDS},
        {"t": "scalar, single"},
    ),
    "unclip.PriorNet.tokens": (
        M["prior"].denoiser.net.tokens,
        {"x": UNITS, "t": T, "ids": IDS},
        {"t": "scalar, single"},
    ),
    "unclip.Prior.loss": (M["prior"].loss, {"z": UNITS, "ids": IDS}, {}),
    "unclip.Prior.draw": (partial(M["prior"].draw, **STEPS), {"ids": IDS}, {"ids": ROWS}),
    "unclip.TextPrior.forward": (partial(M["prior"], **STEPS), {"ids": IDS}, {"ids": ROWS}),
    "autoregressive_prior.Quantiser.measure": (
        lambda z: list(copy.deepcopy(M["written prior"].net.quantiser).measure(z).buffers()),
        {"z": UNITS},
        {"z": ROWS},
    ),
    "autoregressive_prior.Quantiser.coordinates": (
        M["written prior"].net.quantiser.coordinates,
        {"z": UNITS},
        {"z": ROWS},
    ),
    "autoregressive_prior.Quantiser.encode": (M["written prior"].net.quantiser.encode, {"z": UNITS}, {"z": ROWS}),
    "autoregressive_prior.Quantiser.decode": (
        M["written prior"].net.quantiser.decode,
        {"tokens": NUMBERS},
        {"tokens": ROWS},
    ),
    "autoregressive_prior.NumberNet.forward": (
        M["written prior"].net,
        {"tokens": NUMBERS, "dot": NUMBERS[:, 0] % 2, "ids": IDS},
        {},
    ),
    "autoregressive_prior.NumberNet.told": (
        M["written prior"].net.told,
        {"dot": NUMBERS[:, 0] % 2, "ids": IDS},
        {},
    ),
    "autoregressive_prior.NumberNet.written": (
        M["written prior"].net.written,
        {"tokens": NUMBERS[:, :2]},
        {"tokens": "rows, columns"},
    ),
    "autoregressive_prior.AutoregressivePrior.measure": (
        lambda z, ids: list(copy.deepcopy(M["written prior"]).measure(z, ids).buffers()),
        {"z": UNITS, "ids": IDS},
        {},
    ),
    "autoregressive_prior.AutoregressivePrior.loss": (M["written prior"].loss, {"z": UNITS, "ids": IDS}, {}),
    "autoregressive_prior.AutoregressivePrior.draw": (M["written prior"].draw, {"ids": IDS}, {"ids": ROWS}),
    "unclip.scores": (unclip.scores, {"drawn": DRAWN, "text": UNITS}, {}),
    "unclip.EmbeddingWords.forward": (M["embedded"].denoiser.net.text, {"z": UNITS}, {"z": ROWS}),
    "unclip.EmbeddingDiffusion.read": (M["embedded"].read, {"prompts": UNITS}, {"prompts": "rows, double, half"}),
    "unclip.UnCLIP.embed": (M["unclip"].embed, {"ids": IDS}, {"ids": ROWS}),
    "unclip.UnCLIP.generate": (partial(M["unclip"].generate, **STEPS), {"ids": IDS}, {"ids": ROWS}),
    "unclip.between": (partial(unclip.between, share=0.25), {"a": UNITS, "b": UNITS_TOO}, {}),
    "unclip.changed": (
        partial(unclip.changed, share=0.25),
        {"picture": UNITS, "before": UNITS_TOO, "after": UNITS.flip(0)},
        {},
    ),
    "cascade.noised": (
        partial(cascade.noised, schedule=COSINE),
        {"small": SMALL, "level": EARLIER, "eps": eighths(B, 3, 4, 4)},
        {"level": "double, half"},
    ),
    "cascade.shown": (cascade.shown, {"small": SMALL, "level": EARLIER}, {"small": "columns", "level": "double, half"}),
    "cascade.degraded": (cascade.degraded, {"small": SMALL}, {"small": "rows, columns"}),
    "cascade.Enlarger.spoil": (
        M["enlarger"].spoil,
        {"small": SMALL, "level": EARLIER},
        {"small": "columns, double, half", "level": "double, half"},
    ),
    "cascade.Enlarger.loss": (
        M["enlarger"].loss,
        {"x0": PICTURES, "level": EARLIER},
        {"level": "none, double, half"},
    ),
    "cascade.Enlarger.forward": (partial(M["enlarger"], **STEPS), {"small": SMALL}, {"small": "rows, columns"}),
    "cascade.EfficientUNet.forward": (
        built(cascade.EfficientUNet, widths=(8,), blocks=(1,)),
        {"x": PICTURES, "t": T, "cond": pictures(B, 4, 8, 8)},
        {"t": "scalar, single"},
    ),
    "cascade.Cascade.grown": (partial(M["cascade"].grown, **STEPS), {"small": SMALL}, {"small": "rows, columns"}),
    "cascade.Cascade.enlarge": (partial(M["cascade"].enlarge, **STEPS), {"small": SMALL}, {"small": "rows, columns"}),
    "transformer.WordEmbedding.forward": (M["reader"], {"ids": IDS}, {"ids": "rows, columns"}),
    "transformer.TextEncoder.forward": (tower(), {"ids": IDS}, {"ids": "rows, columns"}),
    "transformer.TextEncoder.pooled": (tower().pooled, {"ids": IDS}, {"ids": ROWS}),
    "transformer.LanguageModel.forward": (M["language"], {"ids": IDS}, {"ids": "rows, columns"}),
    "transformer.LanguageModel.nats": (M["language"].nats, {"ids": IDS}, {"ids": "rows, columns"}),
    "transformer.LanguageModel.loss": (M["language"].loss, {"ids": IDS}, {"ids": "rows, columns"}),
    "transformer.VisionTransformer.forward": (
        eyes(time=True),
        {"x": PICTURES, "t": T},
        {"t": "scalar, double, half, single"},
    ),
    "dit.DiT.forward": (M["dit"], {"x": PICTURES, "t": T, "cond": LABELS}, {"t": "scalar, single"}),
    "distill.reflow_pairs": (
        partial(distill.reflow_pairs, M["flow"], steps=2),
        {"noise": X, "cond": LABELS},
        {"cond": "none"},
    ),
    "distill.progressive_target": (
        partial(distill.progressive_target, slope),
        {"x": X, "t": T, "s": EARLIER},
        {"x": "columns, double, half", "t": "double, half", "s": "double, half"},
    ),
    "distill.consistency_function": (
        partial(distill.consistency_function, slope),
        {"x": X, "t": T},
        {"x": "columns, double, half", "t": "scalar, double, half, single"},
    ),
    "distill.boundary": (distill.boundary, {"t": T}, {"t": FREE + ", scalar, single"}),
    "flow_matching.time_of": (partial(flow_matching.time_of, COSINE), {"t": T}, {"t": FREE + ", scalar, single"}),
    "distill.AsFlow.forward": (
        distill.AsFlow(M["labels"], 2.0),
        {"x": X, "t": T, "cond": LABELS},
        {"t": "scalar, double", "cond": "none"},
    ),
    "distill.AsFlow.velocity": (
        distill.AsFlow(M["labels"], 2.0).velocity,
        {"x": X, "t": T, "cond": LABELS},
        {"t": "scalar, double", "cond": "none"},
    ),
    "distill.Student.velocity": (
        M["progressive"].velocity,
        {"x": X, "t": T, "cond": LABELS},
        {"t": "scalar, double", "cond": "none"},
    ),
    "distill.ProgressiveStudent.loss": (M["progressive"].loss, {"x0": X, "cond": LABELS}, {"cond": "none"}),
    "distill.ConsistencyStudent.loss": (M["consistency"].loss, {"x0": X, "cond": LABELS}, {"cond": "none"}),
    "distill.consistency_sample": (
        partial(distill.consistency_sample, half),
        {"x": X, "times": FALLING},
        {"x": FREE, "times": "double, half"},
    ),
    "flow_matching.marginal_velocity": (
        partial(flow_matching.marginal_velocity, data.GaussianMixture([0.25] * 4, X, [0.5] * 4)),
        {"x": OTHER, "t": T},
        {"x": "rows", "t": "scalar, double, rows, single"},
    ),
    "control.Control.loss": (
        M["control"].loss,
        {"mu": CODES, "ids": IDS, "sketches": SKETCHES},
        {},
    ),
    "control.sketch_to_image": (
        partial(control.sketch_to_image, M["latent"], M["control"], prompts="a", steps=2),
        {"sketches": SKETCHES},
        {"sketches": ROWS},
    ),
    "control.edges": (control.edges, {"images": PICTURES}, {"images": FREE}),
    "control.scribbles": (control.scribbles, {"lines": SKETCHES}, {"lines": "rows, columns, double, half"}),
    "control.crops": (control.crops, {"images": PICTURES}, {"images": "rows, columns, double, half"}),
    "control.sketches": (control.sketches, {"images": PICTURES}, {"images": "rows, columns, double, half"}),
    "control.figure_masks": (
        lambda images: control.figure_masks(images).float(),
        {"images": PICTURES},
        {"images": "rows, columns, double, half"},
    ),
    "control.agreement": (control.agreement, {"masks": MASK, "others": MASK.roll(1, 2)}, {}),
    "personalize.prior_preservation": (
        partial(personalize.prior_preservation, own=2),
        {"losses": T},
        {"losses": "rows, double, half"},
    ),
    "adapter.NewWord": (
        lambda row: adapter.NewWord(nn.Embedding(5, 8), row).row,
        {"row": eighths(2, 8)},
        {"row": "rows, double, half"},
    ),
    "adapter.LoRA": (
        lambda down, up: adapter.LoRA(nn.Linear(6, 3), down, up).change(),
        {"down": eighths(2, 6), "up": eighths(3, 2)},
        {},
    ),
    "adapter.small_networks": (lambda width: len(adapter.small_networks(width)), {"width": 8}, {}),
    "personalize.tune": (
        lambda pictures: list(
            personalize.tune(
                M["latent"], pictures, "zib", "textual inversion", 1, captions=["a {}"] * B
            ).weights.values()
        ),
        {"pictures": PICTURES},
        {"pictures": ROWS},
    ),
    "generate.one_pass": (
        lambda labels: generate.one_pass(M["gan"], B, labels=labels),
        {"labels": LABELS},
        {},
    ),
    "generate.denoised": (
        partial(generate.denoised, M["labels"], B, shape=(2,), steps=2),
        {"labels": LABELS},
        {"labels": "rows, single, none, scalar"},
    ),
    "generate.draw": (
        partial(generate.draw, M["labels"], steps=2),
        {"labels": LABELS},
        {"labels": "rows, single, scalar"},
    ),
    "generate.guided": (
        lambda labels, x, t: generate.guided(M["labels"], labels, 2.0)(x, t),
        {"labels": LABELS, "x": X, "t": T},
        {"t": "scalar, double"},
    ),
    "generate.page": (
        lambda images: torch.from_numpy(generate.page(images).copy()),
        {"images": PICTURES},
        {"images": FREE},
    ),
    "stable_diffusion.UNetModel.read": (M["stable"].read, {"ids": IDS}, {"ids": "rows, columns"}),
    "stable_diffusion.UNetModel.forward": (
        M["stable"],
        {"x": CODES, "t": T, "cond": IDS},
        {"x": "double, half", "t": "scalar, double, half, single", "cond": "columns"},
    ),
    "stable_diffusion.AutoencoderKL.encode": (M["coder"].encode, {"x": PICTURES}, {"x": "rows, double, half"}),
    "stable_diffusion.AutoencoderKL.decode": (M["coder"].decode, {"z": CODES}, {"z": "rows, columns, double, half"}),
}

# Public, and not walked: they take no tensor of a user's, hand it on as it is, or are parts of a network that looks at
# it first.
ASIDE = """
adapter.Adapter.numbers adapter.Adapter.save adapter.HyperNetwork.forward adapter.LoRA.change
adapter.LoRA.forward adapter.NewWord.forward adapter.WithWord.encode adapter.WithWord.unknown adapter.bare
adapter.merged adapter.worn
autoregressive_prior.NumberNet.following cascade.Cascade.forward cascade.Cascade.stages cascade.Cascade.weights
clip.CLIP.encode_texts clip.CLIP.unknown_words clip.classifier control.Control.follow control.Control.forward
control.Control.listen control.Controlled.forward control.zero_convolution dalle.Cache.extend dalle.DALLE.read
dalle.cached_block dalle.reranked distill.DistilledDiffusion.follow distill.DistilledDiffusion.generate
distill.DistilledDiffusion.listen distill.Student.follow distill.Student.listen distill.Student.loss
dit.DiTBlock.forward dit.flops dit.modulate dit.place_waves dit.zero flow_matching.bend generate.class_names
generate.classes_of generate.in_chunks generate.in_parts generate.in_turn generate.label_of generate.method
generate.options generate.prompted generate.written latent.LatentDiffusion.ids latent.LatentDiffusion.read
latent.LatentDiffusion.unknown_words latent.LatentDiffusion.weights latent.TextToImage.forward
latent.TextToImage.weights latent.text_to_image personalize.attention_layers personalize.every_layer personalize.fresh
personalize.word_layers score.SDE.coefficients score.SDE.diffusion score.SDE.marginal score.edm_sigmas score.edm_times
score.sub_vp score.vp stable_diffusion.Convolution.forward stable_diffusion.Downsample.forward
stable_diffusion.PixelAttention.forward stable_diffusion.ResBlock.forward stable_diffusion.SpatialTransformer.forward
stable_diffusion.Steps.forward stable_diffusion.TransformerBlock.forward stable_diffusion.Upsample.forward
stable_diffusion.scaled_linear stable_diffusion.stable_diffusion transformer.Block.forward
transformer.LanguageModel.sample transformer.Tokenizer.decode transformer.Tokenizer.encode
transformer.Tokenizer.knowing transformer.Tokenizer.tokens transformer.Tokenizer.unknown transformer.merge
transformer.words unclip.UnCLIP.read unclip.sentence
"""
