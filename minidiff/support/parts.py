"""A model as a description that JSON can hold, and back: the constructor arguments of each of its parts.

    @part
    class VAE(nn.Module):
        def __init__(self, code=8, beta=1.0): ...      # keeps each argument under its own name: self.code, self.beta

    describe(VAE(code=2)) == {"part": "VAE", "code": 2, "beta": 1.0}
    build({"part": "VAE", "code": 2, "beta": 1.0})     # a new VAE(code=2, beta=1.0), its weights not yet trained

A class whose attributes have other uses for some of these names says by `described()` what was given for them. Every
argument is written down, those left at their defaults too, so a default may change and an older description still
builds the same model. A description names parts that were registered here and nothing else: none is ever imported.
"""

import inspect
from collections.abc import Callable

PARTS: dict[str, Callable] = {}  # name -> class, or function that makes an object with `made_by`
PLAIN = (str, int, float, bool, type(None))


def part(maker: Callable) -> Callable:
    """Register a class by its name, so that it can be described and built again. Returns it unchanged."""
    if PARTS.setdefault(maker.__name__, maker).__module__ != maker.__module__:
        raise ValueError(f"part: got a second {maker.__name__!r}, expected a name that is not taken")
    PARTS[maker.__name__] = maker
    return maker


def describe(value):
    """`value` in JSON's terms: numbers, texts, None, lists; a part as {"part": its name, argument: its description}.

    TypeError, which names the argument, for a value that is none of these or a part of an unregistered class.
    """
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, tuple | list):
        return [describe(each) for each in value]
    if isinstance(value, type) and PARTS.get(value.__name__) is value:
        return {"class": value.__name__}
    if hasattr(value, "made_by"):  # made by a function: it says by which, and with what
        return value.made_by
    kind = type(value)
    if PARTS.get(kind.__name__) is not kind:
        name = getattr(value, "__name__", kind.__name__)  # a class or a function has a name of its own
        raise TypeError(f"{name} is no part of the course's: it cannot be described")
    own = value.described() if hasattr(value, "described") else {}
    names = inspect.signature(kind).parameters
    return {"part": kind.__name__} | {name: _argument(value, name, own) for name in names}


def build(description):
    """What `describe` described, made anew. ValueError for an unknown part; TypeErrors are the parts' own."""
    if isinstance(description, list):
        return [build(each) for each in description]
    if not isinstance(description, dict):
        return description
    arguments = dict(description)
    kind = "part" if "part" in arguments else "class"
    name = arguments.pop(kind, None)
    if not isinstance(name, str) or name not in PARTS:
        raise ValueError(f"part: got {name!r}, expected one of {', '.join(sorted(PARTS))}")
    made = {argument: build(value) for argument, value in arguments.items()}
    return PARTS[name](**made) if kind == "part" else PARTS[name]


def _argument(value, name: str, own: dict):
    try:
        return describe(own[name] if name in own else getattr(value, name))
    except AttributeError:
        raise TypeError(f"{type(value).__name__} does not keep its argument {name!r}: self.{name}") from None
    except TypeError as error:
        raise TypeError(f"{type(value).__name__}.{name}: {error}") from error
