"""Right calls of what lessons 00 to 08 and every lesson use: pictures, points, schedules, samplers, plots."""

from functools import partial

import numpy as np
import torch
from surface import ROWS, built, eighths, pictures
from torch import nn

from minidiff import (
    autoencoder,
    autoregressive,
    classifier,
    denoiser,
    evaluate,
    flow,
    gan,
    guidance,
    metrics,
    plot,
    sampler,
    schedule,
    unet,
    vae,
)
from minidiff import nn as parts

B = 4


def half(x, t, cond=None):
    return x / 2


def seen(x, t):
    """A classifier's log-probability that has a gradient, (B,)."""
    return -x.flatten(1).square().sum(1)


COSINE = schedule.cosine()
X, OTHER, NOISE = (eighths(B, 2, seed=seed) for seed in range(3))
CODES, LOG_VAR = eighths(B, 3), eighths(B, 3, seed=1)
T, EARLIER = torch.tensor([0.25, 0.5, 0.75, 1.0]), torch.tensor([0.125, 0.25, 0.5, 0.75])
LABELS = torch.tensor([2, 0, 1, 2])
SMALL, LARGE = pictures(B, 1, 8, 8), pictures(B, 1, 16, 16)
MAPS, TOKENS, KNOWN = eighths(B, 8, 4, 4), eighths(B, 5, 8), pictures(B, 2, 16, 16, seed=1)
MASK = torch.tensor([[True, True, False]] * B)
FEATURES, OTHERS = eighths(12, 3), eighths(12, 3, seed=1)
SETS = [pictures(12, 1, 4, 4, seed=seed) for seed in range(3)]
MIXED = torch.tensor([1.0, 0.0])


def models():
    """Name -> model, each once."""
    unet_of = partial(unet.UNet, widths=(8, 16))
    own = {"encoder": None, "decoder": None}
    return {
        "autoencoder": built(autoencoder.Autoencoder, code=3, noise=0.5, width=4),
        "linear code": autoencoder.LinearCode(SETS[0], 3),
        "codes": autoencoder.GaussianCodes(FEATURES),
        "vae": built(vae.VAE, code=3, classes=3, width=4, **own),
        "levels": built(vae.VAE, code=3, size=8, width=4, likelihood=vae.Levels()),
        "flow": built(flow.Flow, couplings=2, width=8),
        "cells": built(flow.Flow, (1, 8, 8), couplings=2, width=8, bin=1 / 8),
        "gan": built(gan.GAN, classes=3, width=8),
        "pixels": built(autoregressive.PixelModel, width=8, blocks=1, classes=3),
        "independent": autoregressive.IndependentPixels(SMALL, LABELS, 3),
        "classifier": built(classifier.Classifier, 3, width=4),
        "noisy": built(classifier.NoisyClassifier, COSINE, 3, width=4),
        "points": built(parts.PointNet, width=8, layers=1, classes=3),
        "unet": built(unet_of, classes=3),
        "painted": built(unet_of, known=2),
        "denoiser": denoiser.Denoiser(built(parts.PointNet, width=8, layers=1, classes=3), COSINE, null=3, drop=0.1),
        "plain": denoiser.Denoiser(built(parts.PointNet, width=8, layers=1), COSINE),
        "paired": denoiser.PairedDenoiser(built(parts.PointNet, width=8, classes=3), COSINE, null=3),
        "bound": denoiser.VariationalDenoiser(built(unet_of, classes=3), COSINE, null=3),
    }


M = models()
HANDED_ON = ("x",)  # what a network, guidance and a sampler call what they are given
ACT_NORM = built(flow.ActNorm, 2)
COUPLING = built(flow.Coupling, MIXED, nn.Linear(2, 4))
LOGIT = flow.Logit(-8, 8)


def guided(maker, x, t, **options):
    return maker(**options)(x, t)


def walked(way, x, times, **options):
    return sampler.last(way(half, x, times, COSINE, **options))


def completed(x, labels):
    known = torch.ones(8, 8, dtype=torch.bool)
    known[7] = False
    return M["pixels"].complete(x, known, labels)


def painted(labels):
    return list(M["pixels"].paint(labels))[-1]


def drawn(figure):
    """The pixels of what a plot function draws."""

    def pixels(**arguments):
        made = figure(**arguments)
        page = made if isinstance(made, plot.Figure) else made.figure
        page.canvas.draw()
        found = torch.from_numpy(np.asarray(page.canvas.buffer_rgba()).copy())
        plot.plt.close(page)
        return found

    return pixels


FALLING = torch.tensor([1.0, 0.5, 0.0])
RISING = torch.tensor([0.25, 0.5, 1.0])

# what is called -> (the call, its arguments, the arguments of which other forms are right too: name -> which)
CALLS = {
    "autoencoder.Autoencoder.encode": (M["autoencoder"].encode, {"x": LARGE}, {"x": ROWS}),
    "autoencoder.Autoencoder.decode": (M["autoencoder"].decode, {"z": CODES}, {"z": ROWS}),
    "autoencoder.Autoencoder.forward": (M["autoencoder"], {"x": LARGE}, {"x": ROWS}),
    "autoencoder.Autoencoder.loss": (M["autoencoder"].loss, {"x": LARGE}, {"x": ROWS}),
    "autoencoder.LinearCode": (
        lambda x: autoencoder.LinearCode(x, 2).decode(CODES[:, :2]),
        {"x": SETS[0]},
        {"x": "rows, columns"},
    ),
    "autoencoder.LinearCode.encode": (M["linear code"].encode, {"x": SETS[1]}, {"x": ROWS}),
    "autoencoder.LinearCode.decode": (M["linear code"].decode, {"z": CODES}, {"z": ROWS}),
    "autoencoder.GaussianCodes": (
        lambda z: autoencoder.GaussianCodes(z).scale,
        {"z": FEATURES},
        {"z": "rows, columns"},
    ),
    "autoencoder.GaussianCodes.sample": (M["codes"].sample, {"n": 3}, {}),
    "autoregressive.to_levels": (autoregressive.to_levels, {"x": SMALL}, {"x": "rows, columns"}),
    "autoregressive.from_levels": (
        *(autoregressive.from_levels, {"k": autoregressive.to_levels(SMALL)}, {"k": "rows, columns"}),
    ),
    "autoregressive.MaskedConv.forward": (
        built(autoregressive.MaskedConv, 1, 2, 3, False),
        {"x": SMALL},
        {"x": "rows, columns"},
    ),
    "autoregressive.MaskedBlock.forward": (
        built(autoregressive.MaskedBlock, 8, 0.0),
        {"h": MAPS},
        {"h": "rows, columns"},
    ),
    "autoregressive.PixelModel.forward": (M["pixels"], {"x": SMALL, "y": LABELS}, {}),
    "autoregressive.PixelModel.log_prob": (M["pixels"].log_prob, {"x": SMALL, "y": LABELS}, {}),
    "autoregressive.PixelModel.log_prob_unlabelled": (M["pixels"].log_prob_unlabelled, {"x": SMALL}, {"x": ROWS}),
    "autoregressive.PixelModel.loss": (M["pixels"].loss, {"x": SMALL, "y": LABELS}, {}),
    "autoregressive.PixelModel.paint": (painted, {"labels": LABELS[:2]}, {"labels": ROWS}),
    "autoregressive.PixelModel.complete": (completed, {"x": SMALL[:2], "labels": LABELS[:2]}, {}),
    "autoregressive.PixelModel.sample": (M["pixels"].sample, {"n": 2, "labels": LABELS[:2]}, {"labels": "none"}),
    "autoregressive.IndependentPixels": (
        lambda x, y: autoregressive.IndependentPixels(x, y, 3).log_probs,
        {"x": SMALL, "y": LABELS},
        {"x": "columns"},
    ),
    "autoregressive.IndependentPixels.log_prob": (M["independent"].log_prob, {"x": SMALL, "y": LABELS}, {}),
    "autoregressive.IndependentPixels.sample": (
        M["independent"].sample,
        {"n": B, "labels": LABELS},
        {"labels": "none"},
    ),
    "autoregressive.draw": (autoregressive.draw, {"logits": CODES, "temperature": 1.0}, {"logits": "rows, columns"}),
    "classifier.Classifier.features": (M["classifier"].features, {"x": LARGE}, {"x": ROWS}),
    "classifier.Classifier.forward": (M["classifier"], {"x": LARGE}, {"x": ROWS}),
    "classifier.Classifier.terms": (M["classifier"].terms, {"x": LARGE, "y": LABELS}, {}),
    "classifier.Classifier.loss": (M["classifier"].loss, {"x": LARGE, "y": LABELS}, {}),
    "classifier.NoisyClassifier.forward": (M["noisy"], {"x": LARGE, "t": T}, {"t": "scalar, double"}),
    "classifier.NoisyClassifier.log_prob": (
        lambda labels, x, t: M["noisy"].log_prob(labels)(x, t),
        {"labels": LABELS, "x": LARGE, "t": T},
        {"t": "scalar, double"},
    ),
    "classifier.NoisyClassifier.terms": (M["noisy"].terms, {"x0": LARGE, "y": LABELS}, {}),
    "classifier.NoisyClassifier.loss": (M["noisy"].loss, {"x0": LARGE, "y": LABELS}, {}),
    "denoiser.Denoiser.forward": (
        M["denoiser"],
        {"x": X, "t": T, "cond": LABELS},
        {"t": "scalar, double", "cond": "none"},
    ),
    "denoiser.Denoiser.forward without": (M["plain"], {"x": X, "t": T}, {"t": "scalar, double"}),
    "denoiser.Denoiser.losses": (
        M["denoiser"].losses,
        {"x0": X, "t": T, "eps": NOISE, "cond": LABELS},
        {"t": "scalar, double", "cond": "none"},
    ),
    "denoiser.Denoiser.loss": (
        M["denoiser"].loss,
        {"x0": X, "cond": LABELS, "eps": NOISE},
        {"cond": "none", "eps": "none"},
    ),
    "denoiser.PairedDenoiser.loss": (
        *(M["paired"].loss, {"x0": X, "eps": NOISE, "cond": LABELS}, {"cond": "none", "eps": "none"}),
    ),
    "denoiser.VariationalDenoiser.loss": (M["bound"].loss, {"x0": LARGE, "cond": LABELS}, {"cond": "none"}),
    "denoiser.bound_terms": (
        partial(denoiser.bound_terms, half, COSINE),
        {"x0": SMALL, "t": T, "eps": pictures(B, 1, 8, 8, seed=1)},
        {"t": "double, half"},
    ),
    "denoiser.bound": (
        partial(denoiser.bound, half, COSINE),
        {"x0": SMALL, "draws": 2},
        {"x0": "rows, columns, rank, double, half"},
    ),
    "evaluate.compare": (
        lambda pictures, train, held_out: evaluate.compare(
            {"pictures": pictures}, train, held_out, partial(torch.flatten, start_dim=1)
        ),
        dict(zip(("pictures", "train", "held_out"), SETS)),
        {"train": ROWS, "held_out": ROWS},
    ),
    "evaluate.quality": (
        partial(evaluate.quality, features=partial(torch.flatten, start_dim=1)),
        dict(zip(("samples", "train", "held_out"), SETS)),
        {name: ROWS for name in ("samples", "train", "held_out")},
    ),
    "evaluate.floors": (
        partial(evaluate.floors, features=partial(torch.flatten, start_dim=1)),
        dict(zip(("train", "held_out"), SETS)),
        {"train": ROWS, "held_out": ROWS},
    ),
    "flow.ActNorm.forward": (ACT_NORM, {"x": X}, {"x": ROWS}),
    "flow.ActNorm.inverse": (ACT_NORM.inverse, {"z": X}, {"z": ROWS}),
    "flow.Logit.forward": (LOGIT, {"x": X}, {"x": "rows, columns"}),
    "flow.Logit.inverse": (LOGIT.inverse, {"z": X}, {"z": "rows, columns"}),
    "flow.Coupling": (lambda mask: flow.Coupling(mask, nn.Identity()).mask, {"mask": MIXED}, {"mask": ROWS}),
    "flow.Coupling.forward": (COUPLING, {"x": X}, {"x": ROWS}),
    "flow.Coupling.inverse": (COUPLING.inverse, {"z": X}, {"z": ROWS}),
    "flow.Coupling.scale_shift": (COUPLING.scale_shift, {"x": X}, {"x": ROWS}),
    "flow.Flow.forward": (M["flow"], {"x": X}, {"x": ROWS}),
    "flow.Flow.inverse": (M["flow"].inverse, {"z": X}, {"z": ROWS}),
    "flow.Flow.log_prob": (M["flow"].log_prob, {"x": X}, {"x": ROWS}),
    "flow.Flow.bound": (M["cells"].bound, {"x": SMALL}, {"x": ROWS}),
    "flow.Flow.terms": (M["cells"].terms, {"x": SMALL}, {"x": ROWS}),
    "flow.Flow.loss": (M["flow"].loss, {"x": X}, {"x": ROWS}),
    "flow.Flow.sample": (M["flow"].sample, {"n": 3, "temperature": 1.0}, {}),
    "flow.dequantise": (flow.dequantise, {"x": SMALL, "bin": 1 / 8}, {"x": "rows, columns, rank, double, half"}),
    "gan.NonSaturating.discriminator": (
        gan.NonSaturating().discriminator,
        {"real": T, "fake": EARLIER},
        {"real": ROWS, "fake": ROWS},
    ),
    "gan.NonSaturating.generator": (gan.NonSaturating().generator, {"fake": T}, {"fake": ROWS}),
    "gan.Wasserstein.discriminator": (
        gan.Wasserstein().discriminator,
        {"real": T, "fake": EARLIER},
        {"real": ROWS, "fake": ROWS},
    ),
    "gan.Wasserstein.generator": (gan.Wasserstein().generator, {"fake": T}, {"fake": ROWS}),
    "gan.gradient_penalty": (partial(gan.gradient_penalty, lambda x: seen(x, None)), {"real": X, "fake": OTHER}, {}),
    "gan.Generator.forward": (M["gan"].generator, {"z": X, "y": LABELS}, {}),
    "gan.Discriminator.forward": (M["gan"].discriminator, {"x": X, "y": LABELS}, {}),
    "gan.GAN.discriminator_terms": (M["gan"].discriminator_terms, {"x": X, "y": LABELS}, {}),
    "gan.GAN.generator_loss": (M["gan"].generator_loss, {"n": B, "y": LABELS}, {}),
    "gan.GAN.fake": (M["gan"].fake, {"z": X, "y": LABELS}, {}),
    "gan.GAN.score": (M["gan"].score, {"x": X, "y": LABELS}, {}),
    "gan.GAN.terms": (M["gan"].terms, {"x": X, "y": LABELS}, {}),
    "gan.GAN.loss": (M["gan"].loss, {"x": X, "y": LABELS}, {}),
    "gan.GAN.sample": (M["gan"].sample, {"n": B, "labels": LABELS}, {}),
    "gan.GAN.codes": (M["gan"].codes, {"n": 3}, {}),
    "gan.mlp": (gan.mlp, {"inside": 2, "out": 1, "width": 4}, {}),
    "gan.one_hot": (partial(gan.one_hot, classes=3), {"y": LABELS, "x": X}, {"x": "columns, rank"}),
    "guidance.cfg": (
        partial(guided, guidance.cfg, denoise=M["denoiser"], scale=2.0),
        {"cond": LABELS, "null": torch.tensor(3), "x": X, "t": T},
        {"null": "single", "t": "scalar, double"},
    ),
    "guidance.cfg away from": (
        partial(guided, guidance.cfg, denoise=M["denoiser"], scale=2.0),
        {"cond": LABELS, "null": LABELS.flip(0), "x": X, "t": T},
        {"t": "scalar, double", "null": "single, scalar"},
    ),
    "guidance.classifier_guidance": (
        partial(guided, guidance.classifier_guidance, denoise=M["plain"], log_prob=seen, schedule=COSINE, scale=2.0),
        {"x": X, "t": T},
        {"t": "scalar, double"},
    ),
    "guidance.interval": (
        partial(guided, guidance.interval, guided=M["plain"], plain=half, low=0.2, high=0.6),
        {"x": X, "t": torch.tensor(0.5)},
        {"x": "rows, rank", "t": "double"},
    ),
    "guidance.clamp": (partial(guided, guidance.clamp, denoise=M["plain"]), {"x": X, "t": T}, {"t": "scalar, double"}),
    "guidance.dynamic_threshold": (
        *(partial(guided, guidance.dynamic_threshold, denoise=M["plain"]), {"x": X, "t": T}, {"t": "scalar, double"}),
    ),
    "metrics.bits_per_dim": (metrics.bits_per_dim, {"log_prob": T, "dims": 8}, {"log_prob": ROWS}),
    "metrics.frechet_distance": (
        metrics.frechet_distance,
        {"a": FEATURES, "b": OTHERS},
        {"a": ROWS, "b": ROWS},
    ),
    "metrics.kernel_distance": (
        metrics.kernel_distance,
        {"a": FEATURES, "b": OTHERS},
        {"a": ROWS, "b": ROWS},
    ),
    "metrics.energy_distance": (
        metrics.energy_distance,
        {"a": FEATURES, "b": OTHERS},
        {"a": ROWS, "b": ROWS},
    ),
    "metrics.sliced_wasserstein": (
        metrics.sliced_wasserstein,
        {"a": FEATURES, "b": OTHERS, "directions": 8},
        {"a": ROWS, "b": ROWS},
    ),
    "metrics.precision_recall": (
        metrics.precision_recall,
        {"real": FEATURES, "fake": OTHERS, "k": 2},
        {"real": ROWS, "fake": ROWS},
    ),
    "metrics.nearest_share": (
        metrics.nearest_share,
        dict(zip(("samples", "train", "held_out"), SETS)),
        {"samples": ROWS, "train": ROWS, "held_out": ROWS},
    ),
    "metrics.same_shape": (
        metrics.same_shape,
        dict(zip(("held_out", "train"), SETS)),
        {"held_out": ROWS, "train": ROWS},
    ),
    "nn.conv_encoder": (parts.conv_encoder, {"out": 3, "size": 8, "channels": 1, "width": 4, "hidden": 4}, {}),
    "nn.conv_decoder": (parts.conv_decoder, {"code": 3, "size": 8, "channels": 1, "width": 4, "hidden": 4}, {}),
    "nn.group_norm": (parts.group_norm, {"channels": 8}, {}),
    "nn.halvings": (parts.halvings, {"size": 16}, {}),
    "nn.time_mlp": (parts.time_mlp, {"dim": 8, "out": 4}, {}),
    "nn.TimeEmbedding.forward": (parts.TimeEmbedding(8), {"t": T}, {"t": "rows, scalar"}),
    "nn.FiLM.forward": (built(parts.FiLM, 3, 8), {"h": MAPS, "embedding": CODES}, {"h": "columns", "embedding": "row"}),
    "nn.ResidualBlock.forward": (
        built(parts.ResidualBlock, 8, 8, 3),
        {"x": MAPS, "embedding": CODES},
        {"x": "columns", "embedding": "row"},
    ),
    "nn.Attention.forward": (
        built(parts.Attention, 8, 2, context=3),
        {"x": TOKENS, "context": eighths(B, 3, 3), "mask": MASK},
        {"mask": "none"},
    ),
    "nn.Attention.weights": (
        built(parts.Attention, 8, 2, context=3).weights,
        {"x": TOKENS, "context": eighths(B, 3, 3), "mask": MASK},
        {"mask": "none"},
    ),
    "nn.attend": (
        parts.attend,
        {"q": TOKENS[:, None], "k": eighths(B, 1, 3, 8), "v": eighths(B, 1, 3, 8, seed=1), "mask": MASK},
        {"v": "columns", "mask": "none"},
    ),
    "nn.PointNet.forward": (M["points"], {"x": X, "t": T, "cond": LABELS}, {"t": "scalar"}),
    "plot.tile": (
        lambda images: torch.from_numpy(plot.tile(images)),
        {"images": SMALL},
        {"images": "rows, columns"},
    ),
    "plot.grid": (drawn(plot.grid), {"images": SMALL, "titles": LABELS}, {"images": "columns", "titles": "none, any"}),
    "plot.rows": (
        drawn(lambda images: plot.rows({"a": images})),
        {"images": SMALL},
        {"images": "rows, columns"},
    ),
    "plot.curve": (drawn(lambda values: plot.curve(values)), {"values": T}, {"values": "rows, any"}),
    "plot.scatter": (drawn(plot.scatter), {"points": X, "labels": LABELS}, {"labels": "none, any"}),
    "plot.paths": (drawn(plot.paths), {"trajectories": eighths(3, B, 2)}, {"trajectories": ROWS}),
    "plot.density": (drawn(plot.density), {"values": eighths(B, 3)}, {"values": "rows, columns"}),
    "plot.arrows": (drawn(partial(plot.arrows, lambda x: x)), {"side": 3}, {}),
    "sampler.times": (sampler.times, {"steps": 5, "start": 1.0, "power": 2.0}, {}),
    "sampler.sample": (
        partial(walked, sampler.sample),
        {"x": X, "times": FALLING, "eta": 0.5},
        {"x": "rows, columns, rank, double", "times": "double"},
    ),
    "sampler.heun": (
        partial(walked, sampler.heun),
        {"x": X, "times": FALLING},
        {"x": "rows, columns, rank, double", "times": "double"},
    ),
    "sampler.invert": (
        partial(walked, sampler.invert),
        {"x": X, "times": RISING},
        {"x": "rows, columns, rank, double", "times": "rows, double"},
    ),
    "schedule.Schedule": (COSINE, {"t": T, "like": X}, {"t": "scalar, double", "like": "columns, rank, double, none"}),
    "schedule.Schedule.log_snr": (COSINE.log_snr, {"t": T}, {"t": "rows, scalar, double"}),
    "schedule.Schedule.add_noise": (COSINE.add_noise, {"x0": X, "t": T, "eps": NOISE}, {"t": "scalar, double"}),
    "schedule.Schedule.score": (COSINE.score, {"x": X, "x0": OTHER, "t": T}, {"t": "scalar, double"}),
    "schedule.Schedule.velocity": (COSINE.velocity, {"x": X, "x0": OTHER, "t": T}, {"t": "scalar, double"}),
    "schedule.Schedule.transition": (
        COSINE.transition,
        {"t": T, "s": EARLIER, "like": X},
        {"t": "double", "s": "scalar, double", "like": "columns, rank, double, none"},
    ),
    "schedule.Schedule.posterior": (
        COSINE.posterior,
        {"x": X, "x0": OTHER, "t": T, "s": EARLIER},
        {"t": "double", "s": "scalar, double"},
    ),
    "schedule.Schedule.spread": (COSINE.spread, {"n": 3}, {}),
    "schedule.cosine": (schedule.cosine, {"steps": 10}, {}),
    "schedule.linear": (schedule.linear, {"steps": 100}, {}),
    "schedule.variance_exploding": (schedule.variance_exploding, {"sigma_min": 0.01, "sigma_max": 50.0}, {}),
    "schedule.from_betas": (
        lambda betas: schedule.from_betas(betas)(T),
        {"betas": torch.tensor([0.125, 0.25, 0.5])},
        {"betas": ROWS},
    ),
    "unet.UNet.forward": (M["unet"], {"x": LARGE, "t": T, "cond": LABELS}, {"t": "scalar"}),
    "unet.UNet.forward known": (M["painted"], {"x": LARGE, "t": T, "cond": KNOWN}, {"t": "scalar"}),
    "vae.gaussian_kl": (vae.gaussian_kl, {"mu": CODES, "log_var": LOG_VAR}, {}),
    "vae.reparameterize": (vae.reparameterize, {"mu": CODES, "log_var": LOG_VAR}, {}),
    "vae.log_normal": (vae.log_normal, {"x": CODES, "mu": LOG_VAR, "log_var": CODES.abs()}, {}),
    "vae.Gaussian.log_prob": (vae.Gaussian().log_prob, {"out": LARGE, "x": pictures(B, 1, 16, 16, seed=1)}, {}),
    "vae.Levels.log_prob": (vae.Levels().log_prob, {"out": eighths(B, 17, 8, 8), "x": SMALL}, {}),
    "vae.Levels.mean": (vae.Levels().mean, {"out": eighths(B, 17, 8, 8)}, {"out": "rows, columns"}),
    "vae.VAE.encode": (M["vae"].encode, {"x": LARGE, "y": LABELS}, {}),
    "vae.VAE.decode": (M["vae"].decode, {"z": CODES, "y": LABELS}, {}),
    "vae.VAE.terms": (M["vae"].terms, {"x": LARGE, "y": LABELS}, {}),
    "vae.VAE.loss": (M["vae"].loss, {"x": LARGE, "y": LABELS}, {}),
    "vae.VAE.elbo": (M["levels"].elbo, {"x": SMALL}, {"x": ROWS}),
    "vae.VAE.iwae": (M["vae"].iwae, {"x": LARGE, "k": 2, "y": LABELS}, {}),
    "vae.VAE.sample": (M["vae"].sample, {"n": B, "labels": LABELS, "temperature": 1.0}, {}),
}

# Public, and not walked: they take no tensor, hand it on as it is, or are parts of a U-Net, which looks at it first.
ASIDE = """
autoencoder.Autoencoder.described autoregressive.PixelModel.described gan.GAN.described vae.VAE.described
checkpoints.card checkpoints.load checkpoints.names checkpoints.needed checkpoints.save
checkpoints.shipped
evaluate.Quality.row vae.Gaussian.mean flow.masks sampler.last sampler.leading_times schedule.Schedule.prior
schedule.straight unet.AttentionBlock.forward unet.Stage.forward unet.UNet.begin
unet.walk_down nn.pooled
"""
