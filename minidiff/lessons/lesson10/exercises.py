"""Lesson 10's checks: byte pairs, causal attention, heads, a block, the loss of a language model, patches."""

import torch
import torch.nn.functional as F

from minidiff import seeded
from minidiff.exercises import CheckFailed, close, exercise, question, require, shaped
from minidiff.lessons.lesson10 import probes, solutions


@exercise(
    "10.merge",
    solution=solutions.merge,
    core=True,
    hints=(
        "Walk through the word with a counter `at` that begins at 0, and collect what comes out in a list.",
        "If `symbols[at : at + 2] == pair`, the two are joined and the walk goes on two symbols further. If not, the "
        "symbol at `at` is kept and the walk goes on one further.",
        '`"".join(pair)` joins the two texts. At the end make the list a tuple with `tuple(joined)`.',
    ),
)
def _(attempt):
    for symbols, pair, wanted, hint in probes.WORDS:
        got = attempt(tuple(symbols.split()), tuple(pair.split()))
        wanted = tuple(wanted.split())
        require(got is not None, "The result is None: is a `return` missing?")
        if not isinstance(got, tuple):  # no list: the lesson merges what comes out again
            raise CheckFailed(f"The result is a {type(got).__name__}, expected a tuple of symbols.")
        if tuple(got) != wanted:
            raise CheckFailed(hint, f"Got {tuple(got)}, expected {wanted}.")


@exercise(
    "10.causal_attention",
    solution=solutions.causal_attention,
    core=True,
    hints=(
        "Begin as in lesson 06: the scores are q times k transposed, divided by the root of d. Then hide some of them.",
        "`torch.ones(L, L).triu(1).bool()` is True above the diagonal, which is where the key comes after the query.",
        "`scores.masked_fill(later, -math.inf)` puts −∞ there. After it come the softmax over dim 2 and the product "
        "with v.",
    ),
)
def _(attempt):
    q = torch.randn(3, 5, 8)
    k = torch.randn(3, 5, 8)
    v = torch.randn(3, 5, 4)
    got = shaped(attempt(q, k, v), (3, 5, 4), "One row of v's width for each query.")
    slips = probes.attention_slips(q, k, v) | _attention_slips(q, k, v)
    slips = {hint: value[:, 1:] for hint, value in slips.items()}
    wanted = solutions.causal_attention(q, k, v)
    close(got[:, 1:], wanted[:, 1:], "Not softmax(q kᵀ / √d) v.", slips=slips)
    close(got[:, 0], v[:, 0], "The first token sees itself alone: its own value comes out. May a token see itself?")
    from minidiff.nn import attend

    theirs = attend(q[:, None], k[:, None], v[:, None], causal=True)[:, 0]
    close(got, theirs, "Not equal to minidiff.nn.attend with causal=True.")
    q, k, v = torch.randn(3, 2, 4, 6)
    wanted = solutions.causal_attention(q, k, v)
    close(attempt(q, k, v), wanted, "Take L and d from q's shape: they are not always 5 and 8.")


def _attention_slips(q, k, v):
    """hint -> what comes out of causal attention with that slip in the scores."""
    scores = q @ k.mT
    further = torch.ones_like(scores).triu(2).bool()
    later = torch.ones_like(scores).triu(1).bool()
    d = q.shape[2]
    return {
        "Token i still sees token i + 1: hide the keys from triu(1) on, not triu(2).": (scores / d**0.5)
        .masked_fill(further, -torch.inf)
        .softmax(2)
        @ v,
        "Divide by the root of d, not by d.": (scores / d).masked_fill(later, -torch.inf).softmax(2) @ v,
        "Rows belong to queries and columns to keys: q @ k.mT.": (scores.mT / d**0.5)
        .masked_fill(later, -torch.inf)
        .softmax(2)
        @ v,
    }


@exercise(
    "10.split_heads",
    solution=solutions.split_heads,
    hints=(
        "First cut the last dimension in two, (B, L, heads, width / heads), and then exchange two dimensions.",
        "`x.reshape(B, L, heads, width // heads)` cuts, and `.transpose(1, 2)` brings the heads to the front.",
    ),
)
def _(attempt):
    for heads in (4, 2):
        x = torch.randn(2, 5, 8)
        d = 8 // heads
        got = shaped(attempt(x, heads), (2, heads, 5, d), "A row of width / heads numbers for each head and token.")
        slips = {
            "That mixes numbers of different tokens: cut the last dimension first, then transpose.": x.reshape(
                2, heads, 5, d
            ),
            "Head 0 takes the first width / heads numbers of each token, not every heads-th one.": x.reshape(
                2, 5, d, heads
            ).permute(0, 3, 1, 2),
        }
        close(got, torch.stack(x.chunk(heads, dim=2), 1), "Not the pieces of each token's vector.", slips=slips)


@exercise(
    "10.block",
    solution=solutions.block,
    core=True,
    hints=(
        "Two lines, one for each half of the drawing. Each of them has the form x = x + part(norm(x)).",
        "The second half reads the x that the first half has made.",
    ),
)
def _(attempt):
    x = torch.randn(2, 5, 6)
    first, second = torch.randn(6, 6), torch.randn(6, 6)
    parts = (lambda h: h - h.mean(2, True), lambda h: h.cumsum(1) @ first, torch.tanh, lambda h: (h @ second).relu())
    got = shaped(attempt(x, *parts), (2, 5, 6), "A block gives back what it was given: (B, L, width).")
    close(got, solutions.block(x, *parts), "Not the block of the drawing.", slips=probes.block_slips(x, *parts))


@exercise(
    "10.next_token_loss",
    solution=solutions.next_token_loss,
    core=True,
    hints=(
        "The last logits have nothing to predict, and the first id is predicted by nobody: `logits[:, :-1]` belongs to "
        "`ids[:, 1:]`.",
        "`F.cross_entropy` wants the classes in dimension 1, so transpose: `logits[:, :-1].transpose(1, 2)`. With "
        '`reduction="none"` and `ignore_index=0` it gives the nats of each token, and 0 for padding.',
        "Add up over the tokens of a caption, `.sum(1)`, and take the mean over the captions.",
    ),
)
def _(attempt):
    logits = torch.randn(3, 6, 11)
    ids = torch.tensor([[1, 5, 9, 2, 0, 0], [1, 10, 2, 0, 0, 0], [1, 3, 4, 5, 6, 2]])
    close(
        attempt(logits, ids),
        solutions.next_token_loss(logits, ids),
        "Not the mean over captions of the summed −log p of each next token.",
        slips=probes.loss_slips(logits, ids) | _loss_slips(logits, ids),
    )
    logits = logits.requires_grad_()
    require(attempt(logits, ids).requires_grad, "The loss has lost its gradient: no detach and no .item() here.")


def _loss_slips(logits, ids):
    """hint -> the loss with that slip in how the nats are added up."""
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], ignore_index=0, reduction="none")
    rolled = F.cross_entropy(logits.transpose(1, 2), ids.roll(-1, 1), ignore_index=0, reduction="none")
    return {
        "That is nats a token, caption by caption: add up, and do not divide by a caption's length.": (
            nats.sum(1) / (ids[:, 1:] > 0).sum(1)
        ).mean(),
        "Add up over the tokens of a caption, dim 1, and average over the captions.": nats.sum(0).mean(),
        "A roll brings the start to the end: the last logits predict nobody, so drop them.": rolled.sum(1).mean(),
    }


@exercise(
    "10.patches",
    solution=solutions.patches,
    core=True,
    hints=(
        "Do not loop. One reshape that cuts, one permute that sorts and one reshape that joins will do.",
        "Cut H and W in two numbers each: `x.reshape(B, C, H // size, size, W // size, size)`.",
        "In the end a patch is told by its row and column of patches, and its numbers by channel, row and column of "
        "pixels: `permute(0, 2, 4, 1, 3, 5)`.",
    ),
)
def _(attempt):
    x = torch.randn(2, 3, 8, 12)
    got = shaped(attempt(x, 4), (2, 6, 48), "2 rows of 3 patches, of 3 channels times 4 times 4 numbers each.")
    cut = x.reshape(2, 3, 2, 4, 3, 4)

    def ordered(*axes):
        return cut.permute(axes).reshape(2, 6, 48)

    slips = {
        "Those are rows of pixels laid end to end: cut both H and W in two numbers, then permute.": x.reshape(2, 6, 48),
        "From left to right, then down: this goes down first.": ordered(0, 4, 2, 1, 3, 5),
        "Within a patch the channels come first, as in a convolution's weight.": ordered(0, 2, 4, 3, 5, 1),
        "A patch came out mirrored along its diagonal: its rows come before its columns.": ordered(0, 2, 4, 1, 5, 3),
    }
    wanted = F.unfold(x, 4, stride=4).mT
    close(got, wanted, "Not the patches: x.reshape(B, C, H/size, size, W/size, size), then permute.", slips=slips)


@exercise(
    "10.likeness",
    solution=solutions.likeness,
    hints=("Divide each row by its length, `places.norm(dim=1, keepdim=True)`. Then all cosines are one product.",),
)
def _(attempt):
    places = torch.randn(5, 7)
    got = shaped(attempt(places), (5, 5), "A cosine for each pair of places.")
    columns = places / places.norm(dim=0)
    slips = {
        "Those are products, not cosines: divide by the lengths first.": places @ places.T,
        "Divide by the length of each row, dim=1: a row is one place.": columns @ columns.T,
    }
    close(got, F.cosine_similarity(places[:, None], places[None], dim=2), "Not the cosines.", slips=slips)


@exercise(
    "10.padding",
    solution=solutions.padded_attention,
    hints=(
        "It is causal_attention with another mask. Who must not be seen? The keys that are padding.",
        "`real[:, None, :]` is (B, 1, L): the same for every query, and its last dimension runs over the keys.",
    ),
)
def _(attempt):
    q, k, v = (torch.randn(3, 5, 6) for _ in range(3))
    real = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]).bool()
    got = shaped(attempt(q, k, v, real), (3, 5, 6), "One row of v's width for each query.")
    scores = q @ k.mT / 6**0.5
    slips = {
        "The padding is still attended to: put −∞ at its scores.": scores.softmax(2) @ v,
        "The weights no longer add up to 1: hide the padding before the softmax.": (scores.softmax(2) * real[:, None])
        @ v,
        "It is the other way round: `real` is True for what may be seen.": scores.masked_fill(
            real[:, None], -1e9
        ).softmax(2)
        @ v,
    }
    wanted = solutions.padded_attention(q, k, v, real)
    close(got[real], wanted[real], "Not attention to the real tokens.", slips={h: x[real] for h, x in slips.items()})


@exercise(
    "10.write",
    solution=solutions.write,
    hints=(
        "A loop of `steps` rounds. In each of them ask the model about all that is written so far, and keep the last "
        "place only: `model(ids)[:, -1]`.",
        "Divide by the temperature, take the softmax, and draw with `.multinomial(1, generator=generator)`. "
        "`torch.cat([ids, drawn], dim=1)` appends what was drawn.",
    ),
)
def _(attempt):
    start = torch.tensor([[1, 4], [1, 6], [1, 2]])
    got = shaped(attempt(probes.counting, start, 6, seeded(1)), (3, 8), "start, and then one id more in each step.")
    require(torch.equal(got[:, :2], start), "The text begins with start.")
    follows = (got[:, 2:] - got[:, 1:-1]) % 9
    require((follows == 1).all(), "Read the logits of the last token, [:, -1], of all that is written so far.")
    hot, cold = (attempt(probes.flat, start.repeat(300, 1), 1, seeded(2), temperature=t)[:, -1] for t in (1.0, 0.25))
    shares = [(drawn == 3).double().mean().item() for drawn in (hot, cold)]
    require(shares[0] < 0.9, "Draw the next token by its probability; this takes the likeliest one.")
    require(shares[0] > 0.2, "Draw by softmax(logits): this draws all tokens alike.")
    require(shares[1] > shares[0] + 0.15, "Divide the logits by the temperature before the softmax.")
    again = [attempt(probes.flat, start, 5, seeded(3)) for _ in range(2)]
    require(torch.equal(*again), "Draw from the generator: multinomial(1, generator=generator).")


@exercise(
    "10.embed",
    solution=solutions.embed,
    hints=("`words[ids]` looks up all ids at once, (B, L, width). Add the first L rows of places to it.",),
)
def _(attempt):
    ids = torch.tensor([[1, 5, 4, 2], [1, 4, 5, 2]])
    words, places = torch.randn(9, 6), torch.randn(11, 6)
    got = shaped(attempt(ids, words, places), (2, 4, 6), "A vector for each id: its word's plus its place's.")
    slips = {
        "The places are forgotten: nobody could tell the order of the words.": words[ids],
        "A place is counted from the left: places[0], places[1], …, not places[id].": words[ids] + places[ids],
        "The first word has place 0: places[: L].": words[ids] + places[1:5],
    }
    close(got, solutions.embed(ids, words, places), "Not words[ids] plus the first L places.", slips=slips)


question(
    "10.predict_entropy",
    answer="b",
    hints={
        "a": "The program throws dice: which shape, which colour, which words. Nobody can foresee how they fall.",
        "c": "That is a uniform guess among all 493 tokens. A good model knows which words can come next.",
    },
    why="what the program decides by dice costs nats, whoever predicts it, and nothing else does",
)
question(
    "10.predict_shift",
    answer="a",
    hints={
        "b": "At each place the answer itself is among what the model may see. What is the easiest thing to learn?",
        "c": "Nothing is wrong with the gradient: it learns very well. But what is it asked for?",
    },
    why="it copies the token that it sees, which is the answer, and learns nothing about what comes next",
)
question(
    "10.predict_data",
    answer="b",
    hints={
        "a": "What does a convolution know before it has seen one picture that a transformer has to learn?",
        "c": "With so few pictures, both can learn them by heart; how they do on new ones depends on what is built in.",
    },
    why="the convolution looks for the same thing at every place from the start, which the transformer has to learn",
)
