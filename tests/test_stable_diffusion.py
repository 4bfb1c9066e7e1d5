"""Stable Diffusion's networks and pipelines against diffusers', on the same small random weights, and what they refuse.

Networks are compared in float64: float32's own error would hide an eps of 1e-5 for 1e-6.
"""

import time
from types import SimpleNamespace

import diffusers
import published
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minidiff import pretrained, stable_diffusion
from minidiff.latent import TextToImage, image_to_image, inpaint, text_to_image
from minidiff.sampler import leading_times
from minidiff.stable_diffusion import VERSIONS, AutoencoderKL, Downsample, UNetModel, scaled_linear
from minidiff.support import parts

TEXTS = ["the cat", "a dog of the café"]
NOT = "the the"
VERSION = {"1.x": {}, "2.x": published.VERSION_2}


@pytest.fixture(scope="module", params=VERSION)
def both(request, tmp_path_factory):
    """diffusers' networks and ours in float64, from one folder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd")
    theirs = published.pipeline(folder, **VERSION[request.param])
    for part in (theirs.unet, theirs.vae, theirs.text_encoder):
        part.double()
    return theirs, pretrained.load(folder, dtype=torch.float64)


def apart(theirs, ours) -> float:
    return ((theirs - ours).abs().max() / theirs.abs().max()).item()


@torch.no_grad()
def errors(theirs, ours) -> dict[str, float]:
    """How far each part is from its twin, as a share of its largest value. Codes are not square."""
    ids = ours.ids(TEXTS)
    words = theirs.text_encoder(ids)[0]
    z, x = torch.randn(2, 4, 8, 12).double(), torch.rand(2, 3, 16, 24).double() * 2 - 1
    t = torch.tensor(0.008).double()  # the step 7: diffusers knows time in float32, which shows at large ones
    answer = theirs.unet(z, 7, words).sample
    code = theirs.vae.encode(x).latent_dist
    mu, log_var = ours.autoencoder.encode(x)
    return {
        "text": apart(words, ours.denoiser.net.read(ids)),
        "unet": apart(answer, ours.denoiser.net(z, t, ids)),
        "encoder": max(apart(code.mean, mu), apart(code.logvar, log_var)),
        "decoder": apart(theirs.vae.decode(z).sample, ours.autoencoder.decode(z)),
    }


def test_each_part_is_diffusers(both):
    assert both[1].ids(TEXTS).tolist() == both[0].tokenizer(TEXTS, padding="max_length")["input_ids"]
    found = errors(*both)
    print(found)
    assert max(found.values()) < 1e-6


def eps_of(part, eps):
    for layer in part.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.eps = eps


def symmetric(model):
    for layer in model.autoencoder.modules():
        if isinstance(layer, Downsample):
            layer.one_sided, layer.padding = False, (1, 1)


FAULTS = {  # a slip that public code has made -> the part where it shows
    "eps of the transformers": ("unet", lambda m, patch: eps_of(m.denoiser.net, 1e-5)),
    "eps of the residual blocks": ("unet", lambda m, patch: eps_of(m.denoiser.net, 1e-6)),
    "eps of the autoencoder": ("decoder", lambda m, patch: eps_of(m.autoencoder, 1e-5)),
    "tanh in place of the exact GELU": (
        "unet",
        lambda m, patch: patch.setattr(stable_diffusion, "F", SimpleNamespace(**vars(F) | {"gelu": tanh_gelu})),
    ),
    "a time of one step later": ("unet", lambda m, patch: patch.setattr(UNetModel, "_waves", later)),
    "sines first": (
        "unet",
        lambda m, patch: patch.setattr(UNetModel, "_waves", lambda n, t: n.time_embed[0](t - 1e-3)),
    ),
    "zeros on all sides": ("encoder", lambda m, patch: symmetric(m)),
    "heads": ("unet", lambda m, patch: setattr(m.denoiser.net.mid[1].block.cross_attention, "heads", 4)),
}


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


def later(net, t):
    sines, cosines = net.time_embed[0](t).chunk(2, 1)
    return torch.cat([cosines, sines], 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_shows(tmp_path, monkeypatch, fault):
    theirs = published.pipeline(tmp_path)
    for part in (theirs.unet, theirs.vae, theirs.text_encoder):
        part.double()
    ours = pretrained.load(tmp_path, dtype=torch.float64)
    part, plant = FAULTS[fault]
    plant(ours, monkeypatch)
    found = errors(theirs, ours)
    print(fault, f"{found[part]:.1e}")
    assert found[part] > 1e-6


def test_full_size_has_the_published_number_of_weights():
    def tokenizer(texts):
        return torch.full((1, 77), 49407)

    sizes = {v: stable_diffusion.stable_diffusion(tokenizer, **VERSIONS[v], device="meta").weights() for v in VERSIONS}
    assert sizes["1.x"] == {"text": 123_060_480, "generator": 859_520_964, "decoder": 83_653_863}
    assert sizes["2.x"] == {"text": 340_387_840, "generator": 865_910_724, "decoder": 83_653_863}


# ------------------------------------------------------------------------------------- pipelines, from the same noise

SEED = 5


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """diffusers' pipeline and ours in float32. The VAE's draws have no spread, so that diffusers encodes as we do."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipes")
    theirs = published.pipeline(folder)
    return theirs, pretrained.load(folder)


def seeded():
    return torch.Generator().manual_seed(SEED)


def scheduler(name: str, spacing: str):
    settings = dict(published.SCHEDULER)
    if spacing == "trailing":
        settings |= {"set_alpha_to_one": True}
    if name != "DDIMScheduler":
        settings = {key: value for key, value in settings.items() if key.startswith("beta")}
    return getattr(diffusers, name)(timestep_spacing=spacing, **settings)


DRAWN = {  # diffusers' scheduler, spacing of times, its options, ours
    "ddim": ("DDIMScheduler", "trailing", {}, {"order": 1}),
    "ddim, leading": ("DDIMScheduler", "leading", {}, {"order": 1, "grid": leading_times}),
    "eta 1": ("DDIMScheduler", "trailing", {"eta": 1.0}, {"order": 1, "eta": 1.0}),
    "eta 1, leading": ("DDIMScheduler", "leading", {"eta": 1.0}, {"order": 1, "eta": 1.0, "grid": leading_times}),
    "dpm++": ("DPMSolverMultistepScheduler", "trailing", {}, {"order": 2}),
}


@pytest.mark.parametrize("how", DRAWN)
def test_text_to_image_is_diffusers(pipes, how):
    theirs, ours = pipes
    name, spacing, options, mine = DRAWN[how]
    theirs.scheduler = scheduler(name, spacing)
    generator = seeded()
    noise = ours.schedule.prior((1, 4, 12, 8), generator)  # not square
    wanted = theirs(
        TEXTS[1],
        latents=noise,
        generator=generator,
        num_inference_steps=10,
        guidance_scale=7.5,
        negative_prompt=NOT,
        height=24,
        width=16,
        output_type="pt",
        **options,
    ).images
    found = text_to_image(ours, TEXTS[1], negative=NOT, size=(24, 16), steps=10, generator=seeded(), **mine)
    assert found.dtype == torch.float32
    assert ((found + 1) / 2 - wanted).abs().max() < 1e-4


def turned(pipe, name: str):
    """The same parts in another of diffusers' pipelines."""
    pipe.scheduler = scheduler("DDIMScheduler", "trailing")
    made = getattr(diffusers, name)(**pipe.components, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


PICTURE = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
MADE_OVER = {"strength": 0.8, "guidance_scale": 7.5, "num_inference_steps": 10, "output_type": "pt"}
# diffusers draws its codes; given codes, it takes them as they are, and they are ours


def test_image_to_image_is_diffusers(pipes):
    theirs, ours = turned(pipes[0], "StableDiffusionImg2ImgPipeline"), pipes[1]
    code = ours.encode(PICTURE)
    wanted = theirs(TEXTS[0], image=code, generator=seeded(), **MADE_OVER).images
    found = image_to_image(ours, PICTURE, TEXTS[0], 0.8, steps=10, order=1, generator=seeded())
    assert ((found + 1) / 2 - wanted).abs().max() < 1e-4


def test_inpainting_is_diffusers(pipes):
    theirs, ours = turned(pipes[0], "StableDiffusionInpaintPipeline"), pipes[1]
    mask = torch.zeros(1, 1, 16, 24)
    mask[:, :, 4:10, 6:18] = 1  # whole codes, as diffusers shrinks the mask in another way
    code = ours.encode(PICTURE)
    size = {"height": 16, "width": 24, "masked_image_latents": torch.zeros_like(code)}
    wanted = theirs(TEXTS[0], image=code, mask_image=mask, generator=seeded(), **size, **MADE_OVER).images
    found = inpaint(ours, PICTURE, mask, TEXTS[0], 0.8, steps=10, order=1, generator=seeded())
    inside = mask.expand_as(found) == 1
    assert ((found + 1) / 2 - wanted)[inside].abs().max() < 1e-4
    assert torch.equal(found[~inside], PICTURE[~inside])


def test_the_text_is_read_once_a_run_and_large_pictures_are_drawn_one_by_one(pipes, monkeypatch):
    ours, read, rows = pipes[1], [], []
    net = ours.denoiser.net
    monkeypatch.setattr("minidiff.latent.PIXELS", 16 * 16 + 1)
    handles = [net.text.register_forward_hook(lambda *seen: read.append(1))]
    handles += [net.register_forward_pre_hook(lambda net, args: rows.append(len(args[0])))]
    text_to_image(ours, ["the cat"] * 3, size=16, steps=2)
    for handle in handles:
        handle.remove()
    assert len(read) == 2 and rows == [2] * 6  # prompts and ""; each with and without the text


def test_half_weights_are_told_times_and_codes_in_float32(tmp_path):
    published.pipeline(tmp_path)
    ours, seen = pretrained.load(tmp_path, dtype=torch.bfloat16), []
    ours.denoiser.net.register_forward_pre_hook(lambda net, args: seen.append((args[0].dtype, args[1])))
    images = text_to_image(ours, "the cat", size=16, steps=3, grid=leading_times)
    assert images.dtype == ours.scale.dtype == seen[0][0] == torch.float32
    assert seen[0][1][0].item() == pytest.approx(0.668, abs=1e-6)  # bfloat16 would say 0.668 as 0.668 +- 0.002
    assert next(ours.denoiser.net.parameters()).dtype == torch.bfloat16


def test_the_leading_times_are_diffusers():
    for steps in (4, 20, 30):
        theirs = diffusers.DDIMScheduler(steps_offset=1)
        theirs.set_timesteps(steps)
        assert ((leading_times(steps)[:-1] * 1000 - 1).round() == theirs.timesteps).all()
        assert leading_times(steps)[-1] == 0.001
    assert leading_times(10, 0.5).tolist() == leading_times(20)[10:].tolist()
    with pytest.raises(ValueError, match="start: got 0.001"):
        leading_times(20, 0.001)


def test_the_schedule_is_diffusers():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square()
    wanted = (1 - betas.double()).cumprod(0)
    torch.testing.assert_close(scaled_linear()(scaled_linear().grid.double())[0] ** 2, wanted, rtol=1e-4, atol=0)


def test_a_model_is_three_parts_and_any_three_are_a_model(pipes):
    ours = pipes[1]
    assert isinstance(ours, TextToImage)
    told = ours.text(TEXTS)
    assert told.shape == (2, published.LENGTH, 128)
    code = ours.generator(told, steps=2, generator=seeded())
    assert torch.equal(ours.decoder(code), text_to_image(ours, TEXTS, steps=2, generator=seeded()))
    letters = TextToImage(lambda prompts: torch.tensor([[len(text)] for text in prompts]), lambda n: n / 10, torch.tanh)
    assert letters(["abc", ""]).tolist() == [[pytest.approx(0.2913, abs=1e-4)], [0.0]]


def test_a_small_one_can_be_described_and_trained(pipes):
    net, coder = pipes[1].denoiser.net, AutoencoderKL(widths=(32, 32), blocks=1, groups=8)
    assert parts.describe(parts.build(parts.describe(net))) == parts.describe(net)
    assert parts.describe(parts.build(parts.describe(coder))) == parts.describe(coder)
    fresh = parts.build(parts.describe(net))
    loss = fresh(torch.randn(1, 4, 8, 8), torch.tensor(0.5), torch.zeros(1, 4, dtype=torch.int64)).square().mean()
    loss.backward()
    assert all(weight.grad is not None for weight in fresh.parameters())


REFUSED = [
    (lambda m: text_to_image(m, "a", size=15), "size: got 15, expected a multiple of 4, or two of them"),
    (lambda m: text_to_image(m, "a", size=(16, 16, 16)), "size: got (16, 16, 16), expected a multiple of 4"),
    (lambda m: m.denoiser.net(torch.zeros(1, 4, 7, 8), torch.tensor(0.5), m.ids("a")), "x: got a code of 7x8 places"),
    (lambda m: m.autoencoder.encode(torch.zeros(1, 3, 15, 16)), "x: got 15x16 pixels, expected multiples of f = 2"),
    (lambda m: UNetModel(m.denoiser.net.text, widths=(32, 32, 32)), "len(heads): got 4 (int), expected one of 3"),
    (lambda m: inpaint(m, PICTURE, torch.zeros(16, 24), "a", 0.0), "strength: got 0.0, expected between 0.01 and 1"),
    (lambda m: text_to_image(m, "a", scale=float("nan")), "scale: got"),
]


@pytest.mark.parametrize("call, told", REFUSED)
def test_bad_input_is_refused_by_name(pipes, call, told):
    with pytest.raises(ValueError) as caught:
        call(pipes[1])
    assert told in str(caught.value)


# ------------------------------------------------------------------------------------------------------- at full size


@pytest.mark.slow
def test_full_size_runs_and_says_what_it_takes(tmp_path):
    """Random weights, one thread: CPU seconds a step and a decoding, and peak memory, for 256 pixels."""
    import psutil

    def tokenizer(texts):
        return torch.full((1 if isinstance(texts, str) else len(texts), 77), 49407)

    torch.set_num_threads(1)
    model = stable_diffusion.stable_diffusion(tokenizer, **VERSIONS["1.x"])
    begin = time.process_time()
    z = model.generator(model.text("a"), size=256, steps=1)
    step = time.process_time() - begin
    begin = time.process_time()
    pictures = model.decoder(z)
    decoded = time.process_time() - begin
    memory = psutil.Process().memory_info()
    peak = getattr(memory, "peak_wset", None) or __import__("resource").getrusage(0).ru_maxrss * 1024
    print(f"256 px: {step:.1f} CPU s a guided step, {decoded:.1f} s to decode, {peak / 2**30:.1f} GiB at most")
    assert pictures.shape == (1, 3, 256, 256) and torch.isfinite(pictures).all()
