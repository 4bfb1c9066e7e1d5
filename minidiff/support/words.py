"""A text as it is typed, in the words that a model was trained on: signs are taken off, and what is left is named.

A model has a vector for every token, also for those that training never showed, and those are random numbers. One
full stop of that kind can spoil a picture. So a tokenizer that has a list of words reads a text through `understood`.
"""

import difflib
import re
import string
import unicodedata

STRAIGHT = str.maketrans("‘’‚′´`ʼ“”„″‐‑‒–—―−", "'" * 7 + '"' * 4 + "-" * 7)  # quotes, primes, dashes
SPACE = "\u200b"  # a space without width, which str.split does not know
PIECE = re.compile(r"[^\W_]+|[\W_]")  # a run of letters and digits, or one other sign
PICTURE = re.compile("[#*0-9]\ufe0f?\u20e3|[‼⁉〰〽™ℹⓂ]\ufe0f")  # signs of emoji that NFKC takes apart
LONGEST = 8  # pieces of one word, such as the five of see-no-evil
SHOWN = 40  # letters of an unknown word
NAMED = 8  # unknown words in one line


def vocabulary(words) -> dict[str, str]:
    """The words that training showed, in lower case, by the form in which `understood` looks them up."""
    return {folded(word): word for word in words}


def understood(text: str, known: dict[str, str], skip=None) -> tuple[list[str], list[str]]:
    """The words of `text` that are known, in their order, and those that are not, as they read without their signs.

    Capitals, white space, accents typed as one character or as two, and the kind of quotes and dashes do not matter.
    Punctuation is dropped, unless it is part of a word that training showed, as in "o'clock"; words that it joins, as
    in "red-circle", are looked up one by one. A picture sign, a number or another script is a word like any other.
    skip: words, such as "a", that are passed over where a text begins with one and others follow.
    """
    read, unknown = [], PICTURE.findall(text)
    chunks = folded(PICTURE.sub(" ", text)).split()
    for chunk in chunks[1:] if skip and len(chunks) > 1 and chunks[0] in skip else chunks:
        bare = chunk.strip(string.punctuation)
        sign = "".join(sign for sign in chunk if sign in known) if _is_punctuation(chunk) else ""  # "#" of "(#)."
        form = next((form for form in (chunk, bare, bare.removesuffix("'s"), sign) if form in known), None)
        pieces = [(form, True)] if form else list(_pieces(chunk, known))
        found = [known[piece] for piece, there in pieces if there]
        lost = [piece for piece, there in pieces if not there and not _is_punctuation(piece)]
        read += found
        unknown += lost if found or len(lost) < 2 else [bare]
    return read, [word[:SHOWN] for word in dict.fromkeys(unknown)]


def folded(text: str) -> str:
    """In lower case, with straight quotes and hyphens, in Unicode's form NFKC, without signs that do not show."""
    text = unicodedata.normalize("NFKC", text.replace(SPACE, " ").translate(STRAIGHT)).replace("İ", "I").lower()
    return "".join(_shown(sign) for sign in unicodedata.normalize("NFKC", text).translate(STRAIGHT))


def _shown(sign: str) -> str:
    kind = unicodedata.category(sign)
    if "\ufe00" <= sign <= "\ufe0f" or kind == "Cf":
        return ""  # says how the sign before it looks, or where a line may be broken
    return {"Cc": " ", "Cs": "?"}.get(kind, sign)  # a control character; half a surrogate pair


def _pieces(chunk: str, known: dict[str, str]):
    """The longest known words that a chunk without spaces is made of, and the pieces between them: (piece, known)."""
    pieces = PIECE.findall(chunk)
    at = 0
    while at < len(pieces):
        ends = range(min(len(pieces), at + LONGEST), at, -1)
        spans = ["".join(pieces[at:end]) for end in ends]
        size = next((end - at for end, span in zip(ends, spans) if span in known and span.strip(string.punctuation)), 0)
        yield "".join(pieces[at : at + max(size, 1)]), size > 0
        at += max(size, 1)


def _is_punctuation(piece: str) -> bool:
    """Punctuation, marks and the signs of an ASCII keyboard are nothing to draw; other symbols, as of emoji, are."""
    return all(sign in string.punctuation or unicodedata.category(sign)[0] in "PMZ" for sign in piece)


def unknown_words(tokenizer, texts: str | list[str]) -> list[str]:
    """The words of `texts` that any tokenizer says it leaves out, by its `unknown`; [] for one that leaves out none."""
    return tokenizer.unknown(texts) if hasattr(tokenizer, "unknown") else []


def remark(unknown: list[str]) -> str:
    """What stands beside a picture whose text had unknown words; "" where it had none."""
    return f"(not known, left out: {', '.join(unknown)})" if unknown else ""


def told(unknown: list[str], known) -> str:
    """A line that names unknown words, each with the known word that is closest to it; "" where there are none."""
    close = {word: difflib.get_close_matches(word, known, n=1, cutoff=0.75) for word in unknown[:NAMED]}
    named = [f"{word} (near: {near[0]})" if near else word for word, near in close.items()]
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return f"left out, as training never showed it: {', '.join(named)}{more}" if named else ""
