"""Lesson 00's checks: the training loop, masked convolution, likelihood, drawing, and four exercises."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from minidiff import seeded
from minidiff.autoregressive import LEVELS, MaskedConv, PixelModel, from_levels, to_levels
from minidiff.exercises.compare import close, require, shaped
from minidiff.exercises.core import exercise
from minidiff.lessons.lesson00 import solutions as right
from minidiff.metrics import bits_per_dim


@exercise(
    "00.train",
    solution=right.train,
    core=True,
    hints=(
        "Before the loop: `optimiser = torch.optim.Adam(model.parameters(), lr=lr)` and an empty list for the losses.",
        "In the loop: `loss = model.loss(*batches[k])`, then `optimiser.zero_grad()`, `loss.backward()` and "
        "`optimiser.step()`, in this order. Append `loss.item()`.",
    ),
)
def _(attempt):
    model = _Slope()
    batches = _Counted(5)
    losses = attempt(model, batches, 4, 0.1)
    require(isinstance(losses, list), "Return the list of the losses, after the loop.")
    require(len(losses) == 4, f"It made {len(losses)} steps where 4 were asked for: `range(steps)`.")
    require(all(isinstance(loss, float) for loss in losses), "A loss is kept as a plain number: loss.item().")
    require(batches.asked != [0] * 4, "Every step takes the same batch: batches[k].")
    require(batches.asked == [0, 1, 2, 3], f"It took the batches {batches.asked}, expected 0, 1, 2, 3, each once.")
    _has_moved(model)
    still = _Slope()
    attempt(still, _Counted(5), 2, 0.0)
    require(still.weight.item() == 1, "With a learning rate of 0 nothing may move: hand lr on to the optimiser.")
    _takes_adams_steps(attempt)


def _has_moved(model):
    """The weight went downhill, by a gradient of its own in each step."""
    gradient = model.weight.grad
    moved = model.weight.item() != 1.0
    require(moved or model.gradients, "No gradient was ever computed: loss.backward(), and then step().")
    unused = "There are gradients, but no step uses them: optimiser.step() comes after backward()."
    require(moved or gradient is None or not gradient.any(), unused)
    require(moved, "No weight has moved: the gradients are cleared between backward() and step().")
    require(model.weight.item() < 1, "The weights go uphill: the optimiser takes care of the sign, hand it the loss.")
    kept = 0 if gradient is None else gradient.item()
    require(kept in (0, 1), "The gradients add up from step to step: optimiser.zero_grad() before each backward().")


def _takes_adams_steps(attempt):
    """The losses where the slope changes from step to step, so that it shows what the optimiser remembers."""
    got, wanted = (torch.tensor(train(_Slope(bend=1.0), _Counted(5), 4, 0.1)) for train in (attempt, right.train))
    total = 0.5 * torch.arange(4)  # the sums of the batches
    slope = 1 + total
    weights = {  # before each step: new Adams move by the rate alone, plain descent by the rate times the slope
        "Make the optimiser once, before the loop: Adam remembers earlier gradients.": 1 - 0.1 * torch.arange(4),
        "The optimiser should be torch.optim.Adam.": 1 - 0.1 * (slope.cumsum(0) - slope),
    }
    slips = {hint: weight * slope + total for hint, weight in weights.items()}
    slips["Keep the loss of each batch by itself, not the sum so far."] = wanted.cumsum(0)
    close(got, wanted, "These are not the losses of the batches, one for each of Adam's steps.", slips=slips, rtol=1e-3)


class _Slope(nn.Module):
    """A loss whose slope in its one weight is 1, or grows with the batch where `bend` is not 0."""

    def __init__(self, bend=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.bend = bend
        self.gradients = 0
        self.weight.register_hook(self.count)

    def count(self, gradient):
        self.gradients += 1

    def loss(self, x):
        return self.weight * (1 + self.bend * x.sum()) + x.sum()


class _Counted:
    """Batches that note which of them were asked for."""

    def __init__(self, size):
        self.size, self.asked = size, []

    def __getitem__(self, k):
        self.asked.append(k)
        return [torch.full((self.size,), 0.1 * k)]

    def __iter__(self):
        return (self[k] for k in range(1000))


@exercise(
    "00.masked_conv",
    solution=right.MaskedConv,
    core=True,
    hints=(
        "Row `kernel // 2` is the middle row. All rows from `kernel // 2 + 1` on are below it.",
        "`mask[kernel // 2, kernel // 2 + own :] = 0` hides what is to the right, and the middle unless `own` is True.",
        "`F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)` in forward.",
    ),
)
def _(attempt):
    for own in (False, True):
        layer = attempt(2, 3, 5, own)
        ours = MaskedConv(2, 3, 5, own)
        x = torch.randn(4, 2, 8, 8)
        shaped(layer(x), (4, 3, 8, 8), "The size must stay: padding=kernel // 2.")
        _sees_what_came_before(_seen(layer), own)
        filters, bias = _weights(layer)
        nn.init.normal_(filters)  # as training would: it moves every weight
        hint = "The mask was applied once, and training undoes that: multiply by the mask in forward."
        require(torch.equal(_seen(layer), _seen(ours)), hint)
        ours.weight.data, ours.bias.data = filters.data, bias.data
        close(layer(x), ours(x), "It sees the right pixels, but is not a convolution of them: where is the bias?")
        hint = "Right for a window of 5, but not of 3: the middle is at kernel // 2."
        require(torch.equal(_seen(attempt(2, 3, 3, own)), _seen(MaskedConv(2, 3, 3, own))), hint)


@exercise(
    "00.log_prob",
    solution=right.log_prob,
    core=True,
    hints=(
        "`model(x, y).log_softmax(dim=1)` is (B, 17, 8, 8), since the levels are dimension 1.",
        "`.gather(1, k[:, None])` picks the level of each place: (B, 1, 8, 8). Sum it over the last three dimensions.",
    ),
)
def _(attempt):
    model = _sharp(1.0)
    x = from_levels(torch.randint(LEVELS, (5, 8, 8)))
    y = torch.arange(5)
    got = shaped(attempt(model, x, y), (5,), "One number a picture: sum over the pixels, not over the batch.")
    wanted = model.log_prob(x, y)
    slips = {
        "Sum over the 64 pixels: the chain rule is a product, so its log is a sum.": wanted / 64,
        "A log-probability is at most 0: the sign is turned.": -wanted,
        "These are bits. Nats, please: the natural logarithm.": wanted / math.log(2),
        "The logits are not yet log-probabilities: log_softmax over the levels, dim=1.": _picked(model(x, y), x),
        "The softmax runs over the levels, dim=1.": _picked(model(x, y).log_softmax(-1), x),
        "The softmax runs over the pictures: take dim=1, the levels.": _picked(model(x, y).log_softmax(0), x),
        "A sum of probabilities: take their logarithms first, with log_softmax.": _picked(model(x, y).softmax(1), x),
    }
    close(got, wanted, "This is not the sum of log p(x_i | x_<i, y) over the 64 pixels.", slips=slips, rtol=1e-3)


@exercise(
    "00.paint",
    solution=right.paint,
    core=True,
    hints=(
        "`torch.full((len(labels), 1, 8, 8), -1.0)` are the empty pictures.",
        "`model(x, labels)[:, :, row, column].softmax(dim=1)` are the probabilities at one place, and "
        "`torch.multinomial` draws from them: take its column `[:, 0]`.",
        "Write `x[:, 0, row, column] = k / 8 - 1`, and `yield x.clone()`.",
    ),
)
def _(attempt):
    labels = torch.tensor([0, 4, 9])
    model = _Chained(width=1)
    frames = list(attempt(model, labels, seeded()))
    require(len(frames) == 64, f"It yields {len(frames)} times, expected 64: once after each pixel.")
    shaped(frames[-1], (3, 1, 8, 8), "Yield all the pictures each time.")
    require(not torch.equal(frames[0], frames[-1]), "All the frames are one tensor: yield x.clone().")
    require(frames[0].median() == -1, "What is not drawn yet is empty, -1: torch.full(..., -1.0).")
    close(frames[-1], (to_levels(_onto(frames[-1])) / 8 - 1)[:, None], "Pixels are k / 8 - 1 for k = 0 … 16.")
    once = from_levels(model(torch.full((3, 1, 8, 8), -1.0), labels).argmax(1))
    require(not torch.equal(frames[-1], once), "The network saw an empty picture each time: show it what is drawn.")
    for place, wanted in enumerate(model.paint(labels)):
        hint = f"Wrong from pixel {place} on: in reading order, divmod(place, 8)? softmax over dim=1? with the labels?"
        close(frames[place], wanted, hint)
    equal = _sharp(0.0)  # every level equally likely
    drawn, again = (list(attempt(equal, torch.zeros(100).long(), seeded()))[-1] for _ in range(2))
    require(drawn.std() > 0.3, "All drawings are alike: draw from the probabilities, do not take the largest.")
    require(torch.equal(drawn, again), "The same seed draws differently: hand `generator` on to torch.multinomial.")


@exercise(
    "00.bits_per_dim",
    solution=right.bits_per_dim,
    hints=("A nat is 1 / log(2) bits. The likelier the pictures, the fewer the bits: mind the sign.",),
)
def _(attempt):
    got = attempt(torch.full((3,), -64 * math.log(17)), 64)  # three pictures of a model that knows nothing
    if isinstance(got, torch.Tensor):
        shaped(got, (), "One number: take the mean over the pictures.")
    slips = {
        "These are nats: divide by log(2) for bits.": torch.tensor(math.log(17)),
        "Divide by the number of pixels, dims.": torch.tensor(64 * math.log2(17)),
        "The sign: a smaller probability costs more bits.": torch.tensor(-math.log2(17)),
        "The mean over the pictures, not their sum.": torch.tensor(3 * math.log2(17)),
        "A nat is more than a bit, so the number grows: divide by log(2).": torch.tensor(math.log(17) * math.log(2)),
    }
    close(got, math.log2(17), "17 levels, all equally likely, are log2(17) = 4.09 bits a pixel.", slips=slips)
    some = -100 * torch.rand(7)
    close(attempt(some, 64), bits_per_dim(some, 64), "Take the mean over the pictures.")
    close(attempt(some, 300), bits_per_dim(some, 300), "Pictures may have another number of pixels: divide by dims.")


@exercise(
    "00.steadiest",
    solution=right.steadiest,
    hints=(
        "In one pixel: moving c up a little adds to the error for every value below c, and takes from it for every "
        "value above. When do the two balance?",
        "With as many values above as below: that is the median. `x.median(dim=0).values` does it for all pixels.",
    ),
)
def _(attempt):
    x = (torch.rand(31, 1, 8, 8) ** 3 * 16).round() / 8 - 1
    got = shaped(attempt(x), (1, 8, 8), "One picture: the pictures go away, the pixels stay. dim=0.")
    slip = {"That is the mean, of least squared error. Write down the slope of Σ|x - c| in one pixel.": x.mean(0)}
    close(got, x.median(0).values, "Another has a smaller mean absolute error. Do one pixel first.", slips=slip)


@exercise(
    "00.tempered",
    solution=right.tempered,
    hints=(
        "`(logits / temperature).softmax(dim=1)`, and a case of its own for 0.",
        "`F.one_hot(logits.argmax(dim=1), logits.shape[1]).float()` gives the largest logit probability 1.",
    ),
)
def _(attempt):
    logits = torch.randn(6, LEVELS) * 3
    p = shaped(attempt(logits, 0.5), (6, LEVELS), "A probability for each level of each row.")
    slips = {
        "The logits are divided by the temperature, not multiplied.": (logits * 0.5).softmax(1),
        "Divide before the softmax, not after it.": logits.softmax(1) / 0.5,
        "Normalise over the levels: dim=1.": (logits / 0.5).softmax(0),
        "These are logarithms of probabilities: softmax, not log_softmax.": (logits / 0.5).log_softmax(1),
    }
    close(p, (logits / 0.5).softmax(1), "Not softmax(logits / temperature).", slips=slips)
    close(attempt(logits, 1.0), logits.softmax(1), "At temperature 1 nothing changes.")
    wanted = F.one_hot(logits.argmax(1), LEVELS).float()
    hint = "At temperature 0 the largest logit takes all: 0/0 needs a case of its own."
    require(attempt(logits, 0).isfinite().all(), hint)
    shares = attempt(logits, 0)
    close(shares, wanted, hint)
    require(shares.is_floating_point(), "Right, but in whole numbers: probabilities are floats, at temperature 0 too.")


@exercise(
    "00.finish",
    solution=right.finish,
    core=True,
    hints=(
        "Begin with a copy whose lower rows are empty: `x = x.clone()`, then `x[:, :, rows:] = -1.0`.",
        "It is the loop of `paint`, from place `8 * rows` to 63.",
    ),
)
def _(attempt):
    labels = torch.tensor([1, 8])
    model = _Chained(width=1)
    whole = from_levels(torch.randint(LEVELS, (2, 8, 8)))
    got = shaped(attempt(model, whole, labels, 3), (2, 1, 8, 8), "Whole pictures come out.")
    close(got[:, :, :3], whole[:, :, :3], "The given rows must stay as they are: begin at place 8 * rows.")
    require(not torch.equal(got[:, :, 3:], whole[:, :, 3:]), "The lower rows are still the old ones: draw them.")
    require((got[:, :, 3] > -1).any(), "The row after the given ones stays empty: begin at place 8 * rows.")
    close(got, _onto(got), "A drawn level k = 0 … 16 is written into the picture as k / 8 - 1.")
    hint = "The drawn rows do not follow from the kept ones and the labels, pixel by pixel in reading order."
    close(got, right.finish(model, whole, labels, 3), hint, slips=_wrong_endings(model, whole, labels, 3))
    close(attempt(model, whole, labels, 8), whole, "With rows=8 nothing is left to draw: `rows` is an argument.")
    close(attempt(model, whole, labels, 0), model.sample(2, labels), "With rows=0 it is the loop of section 6.")
    one, same, other = (attempt(_sharp(0.0), whole, labels, 3, seeded(seed)) for seed in (0, 0, 1))
    require(not torch.equal(one, other), "Draw from the probabilities; argmax always takes the likeliest level.")
    require(torch.equal(one, same), "The same seed draws differently: hand `generator` on to torch.multinomial.")


def _seen(layer):
    """What the output at row 3, column 4 depends on: (8, 8), True or False."""
    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    return torch.autograd.grad(layer(x)[0, :, 3, 4].sum(), x)[0][0].abs().sum(0) > 0


def _weights(layer):
    """The filters and the bias of a convolution, or of a module that has one inside."""
    filters = [weight for weight in layer.parameters() if weight.shape == (3, 2, 5, 5)]
    biases = [weight for weight in layer.parameters() if weight.shape == (3,)]
    require(len(filters) == 1, "One convolution: filters of shape (channels_out, channels_in, kernel, kernel).")
    require(len(biases) == 1, "It sees the right pixels, but is not a convolution of them: where is the bias?")
    return filters[0], biases[0]


def _sees_what_came_before(seen, own):
    require(not seen[4:].any(), "It sees the rows below its place.")
    require(not seen[3, 5:].any(), "It sees what is right of its place, which is not drawn yet.")
    require(own or not seen[3, 4], "With own=False it must not see its own pixel: that is the answer.")
    require(seen[3, 4] or not own, "With own=True it must see its own place.")
    require(seen[3, 2:4].all() and seen[1:3, 2:7].all(), "It hides too much: keep all rows above, and all to the left.")


class _Chained(PixelModel):
    """A model without doubt: a level follows from the label, the level before it and the one above to the right."""

    def forward(self, x, y):
        k = F.pad(to_levels(_onto(x)).flatten(1), (7, 0))
        level = (3 * k[:, 6:-1] + 5 * k[:, :-7] + y[:, None] + 7) % LEVELS  # one place back, and seven
        return 50.0 * F.one_hot(level, LEVELS).mT.reshape(-1, LEVELS, 8, 8)


def _wrong_endings(model, x, labels, rows):
    """Slips in finishing x (B, 1, 8, 8) below `rows`: hint -> the pictures that come of it."""

    def below(drawn):
        return torch.cat([x[:, :, :rows], drawn[:, :, rows:]], dim=2)

    def asked(x):
        return from_levels(model(x, labels).argmax(1))

    other = model.sample(len(x), labels)
    blank = below(torch.full_like(x, -1.0))
    columns = blank.clone()
    for place in range(64):
        column, row = divmod(place, 8)
        columns[:, :, row, column] = (asked(columns) if row >= rows else x)[:, :, row, column]
    return {
        "One pass is not enough: ask the model again after each pixel.": below(asked(blank)),
        "This follows the old lower rows: each pixel must follow those that you drew.": below(asked(x)),
        "Column by column: the model knows what came before in reading order, row by row.": columns,
        "These lower rows end another picture: keep the given rows in x while drawing.": below(other),
    }


def _sharp(scale):
    """A small untrained PixelModel in eval mode whose logits are spread by `scale`."""
    model = PixelModel(width=8, blocks=1, dropout=0.0).eval()
    nn.init.normal_(model.head[-1].weight, std=scale)
    nn.init.zeros_(model.head[-1].bias)
    return model.requires_grad_(False)


def _picked(log_p, x):
    """Of scores (B, 17, 8, 8), those of the levels in x, summed over the pixels: (B,)."""
    return log_p.gather(1, to_levels(x)[:, None]).sum((1, 2, 3))


def _onto(x):
    """x moved to the nearest levels."""
    return ((x.clamp(-1, 1) + 1) * 8).round() / 8 - 1
