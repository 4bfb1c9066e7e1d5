"""What lesson 13 claims of noise on small pictures, a last enlarger, one model, readers and U-Nets: stored tables."""

from statistics import mean

from minidiff.cascade import LEVEL
from minidiff.lessons.lesson13.measures import LAST, last_table, level_table, mistakes_table
from minidiff.lessons.lesson13.trained import (
    ALONG,
    LARGE_READER,
    MODELS,
    NETS,
    SEEING,
    SMALL_READER,
    net_table,
    reader_table,
    single_table,
)
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread

AUGMENTED = "quality relies crucially on it: FID 4.88 at 256 pixels (2106.15282, abstract)"
SWEPT = "the level is swept when drawing; 0 has the best FID, 0.1 to 0.3 look best (2205.11487, appendix D.2)"
PRICE = "the base's mistakes are smaller than those from which augmentation pays (see below), and wide strokes"
EVEN = "each level of our U-Net costs the same: dropping the finest pays for the further block, and no more"
FEW = "the readers have read 3,000 names: a larger one has nothing more to know"
COMMAND = "python -m minidiff scorecard 13 --full"


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims; `full` makes the stored tables again, an hour and a half of one core."""
    if full:
        write_tables()
    return [*_of_levels(), _of_last(), _of_single(), _of_readers(), _of_sizes(), _of_nets()]


def write_tables(seeds=range(3)) -> None:
    """data/tables/13_*.csv: three seeds of noise, or of training where something is trained for them."""
    stored.write("13_level", COMMAND, level_table(57, seeds))
    stored.write("13_mistakes", COMMAND, mistakes_table(57))
    stored.write("13_last", COMMAND, last_table(57, seeds))
    for name, table in (("13_single", single_table), ("13_reader", reader_table), ("13_unet", net_table)):
        stored.write(name, COMMAND, [row for seed in seeds for row in table(seed)])


def _of_levels() -> list[Claim]:
    made, cases = stored.command("13_level"), (("clean", 0.0), ("augmented", 0.0), ("augmented", LEVEL))
    clean, none, some = (_column("13_level", "FD, drawn", enlarger=name, level=level) for name, level in cases)
    text = f"an enlarger trained with noise on its small pictures does better with drawn ones (level {LEVEL})"
    ours = f"FD {spread(clean)} without, {spread(some)} with"
    better = mean(some) < mean(clean)
    swept = f"FD {spread(none)} at level 0, {spread(some)} at {LEVEL}"
    return [
        Claim("13", text, AUGMENTED, ours, better, "" if better else PRICE, made),
        Claim("13", "a little noise at sampling helps it", SWEPT, swept, mean(some) < mean(none), stored=made),
        _of_mistakes(),
    ]


def _of_mistakes() -> Claim:
    last = max(stored.read("13_mistakes"), key=lambda row: row["mistake"])
    text = f"it passes on less of a mistake in its small picture (normal noise of {last['mistake']})"
    ours = f"error {last['clean']:.3f} without, {last['augmented']:.3f} with"
    paper = "no such figure; made for artifacts of the models before (2205.11487, section 2.4)"
    return Claim("13", text, paper, ours, last["augmented"] < last["clean"], stored=stored.command("13_mistakes"))


def _of_last() -> Claim:
    clean, degraded = (_column("13_last", "error", enlarger=name, shown="real, degraded") for name in LAST)
    text = "a last enlarger trained on degraded pictures does better with such pictures"
    ours = f"error {spread(clean)} without, {spread(degraded)} with"
    paper = "no figure; used for the last one of unCLIP (2204.06125, section 2.1)"
    return Claim("13", text, paper, ours, max(degraded) < min(clean), stored=stored.command("13_last"))


def _column(table: str, column: str, **where) -> list[float]:
    """A column of a stored table, of the rows that agree with `where`: one number a seed."""
    rows = stored.read(table)
    return [row[column] for row in rows if all(row[name] == value for name, value in where.items())]


def _of_single() -> Claim:
    ours, other = (_column("13_single", "FD, never seen", model=model) for model in MODELS)
    told = f"FD {spread(ours)} and {spread(other)} after as many seconds"
    text = "at equal training time a cascade's pictures are nearer to real ones than those of one model at 64"
    paper = "FID 1.48, 3.52, 4.88 at 64, 128, 256 pixels, better than BigGAN-deep (2106.15282, abstract)"
    return Claim("13", text, paper, told, max(ours) < min(other), stored=stored.command("13_single"))


def _losses(reader: str, wide: bool = True) -> list[float]:
    """The losses of a reader's bases with the wide or the narrow U-Net."""
    rows = [row for row in stored.read("13_reader") if row["reader"] == reader]
    middle = 1_000_000  # weights
    return [row["loss"] for row in rows if (row["U-Net's weights"] > middle) == wide]


def _of_readers() -> Claim:
    learned, frozen = (_column("13_reader", "never seen", reader=reader) for reader in (ALONG, SEEING))
    text = "a frozen reader that has seen the drawings (CLIP's) does better than words learned along, at equal steps"
    paper = "a frozen reader of text alone, T5, is as good as CLIP or better (2205.11487, section 4.4)"
    told = f"right of names never seen: {spread(frozen)} and {spread(learned)}"
    return Claim("13", text, paper, told, min(frozen) > max(learned), stored=stored.command("13_reader"))


def _of_sizes() -> Claim:
    small, best = _losses(SMALL_READER), _losses(LARGE_READER)
    narrow = _losses(LARGE_READER, wide=False)
    reader, net = mean(small) - mean(best), mean(narrow) - mean(best)
    text = "a larger reader lowers the loss more than a larger U-Net"
    paper = "a larger frozen text encoder helps more than a larger U-Net (2205.11487, abstract)"
    told = f"loss {spread(best, 4)}, smaller reader {spread(small, 4)}, smaller U-Net {spread(narrow, 4)}"
    return Claim("13", text, paper, told, reader > net, "" if reader > net else FEW, stored.command("13_reader"))


def _of_nets() -> Claim:
    ours, efficient = (_column("13_unet", "loss", **{"U-Net": name}) for name in NETS)
    speeds = (_column("13_unet", "steps a second", **{"U-Net": name}) for name in NETS)
    told = f"steps a second {' and '.join(spread(speed) for speed in speeds)}, "
    told += f"loss after as many seconds {spread(ours, 4)} and {spread(efficient, 4)}"
    text = "Efficient U-Net reaches a lower loss than ours in the same time"
    paper = "2 to 3 times as many steps a second, and better in the end (2205.11487, section 2.5, appendix D.3.2)"
    better = max(efficient) < min(ours)
    return Claim("13", text, paper, told, better, "" if better else EVEN, stored.command("13_unet"))
