"""Output that a file or a terminal of any encoding can take: a sign that it lacks is spelled with those that it has."""

import codecs
import os
import sys
import unicodedata

SPELLED = {"²": "^2", "³": "^3", "≤": "<=", "≥": ">=", "≈": "~", "±": "+-", "×": "x", "·": "*", "√": "sqrt", "∞": "inf"}
SPELLED |= {"–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "“": '"', "”": '"', "‘": "'", "’": "'", "█": "#"}
SPELLED |= {"α": "alpha", "β": "beta", "ε": "epsilon", "μ": "mu", "σ": "sigma"}


def make_tolerant() -> None:
    """From here on nothing that is printed can end the program, whatever the encoding of stdout and stderr is."""
    codecs.register_error("minidiff.spelled", _spelled)
    for name in ("stdout", "stderr"):  # None where it was closed, `2>&-`: a training must not end for that
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="minidiff.spelled")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """For codecs: what stands for the signs that could not be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_sign, error.object[error.start : error.end])), error.end


def _sign(sign: str) -> str:
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return SPELLED.get(sign) or plain or sign.encode("ascii", "backslashreplace").decode()
