"""Lesson 07's claims: the DDIM paper's tables of steps against noise and of reconstruction, and what x_T decides."""

from statistics import mean

from minidiff.denoiser import Denoiser
from minidiff.lessons.lesson07.few_steps import WAYS, reconstruction, same_picture, solvers, steps_row
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread, trained

STEPS = (5, 10, 20, 50, 100, 1000)
COMMAND = "python -m minidiff scorecard 07 --full"
PAPER = {  # FID of 50,000 pictures, CIFAR-10: 2010.02502, table 1
    10: {"eta 0": 13.36, "eta 1": 41.07, "sigma-hat": 367.43},
    1000: {"eta 0": 4.04, "eta 1": 4.73, "sigma-hat": 3.17},
}
FLOOR = (  # looked into in the lesson's notebook
    "every cell is about as near as two sets of real digits are to each other, and noise of deviation 0.1, as "
    "sigma-hat leaves at 10 steps, moves the FD of real digits less than another draw of them does"
)


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over training seeds: up to 20 steps, or `full`, all of STEPS, and the tables are kept."""
    models = {seed: trained("ddpm-digits", seed) for seed in seeds}
    counts = STEPS if full else STEPS[:3]
    rows = _steps_rows(models, counts, full)
    errors = _reconstruction_rows(models, counts[:5], full)
    solved = [{row["method"]: row["FD held-out"] for row in solvers(model)} for model in models.values()]
    same = [same_picture(model)[-1] for model in models.values()]
    return [*of_eta(rows), *of_sigma_hat(rows), of_reconstruction(errors), _of_solvers(solved), _of_same(same)]


def of_eta(rows: list[dict]) -> list[Claim]:
    """eta 0 beats eta 1 at few steps and the gap shrinks: by FD, as in the paper, and by variety. Means over seeds."""
    counts = _counts(rows)
    found = []
    paper = ", ".join(f"{fid['eta 0']} < {fid['eta 1']} at S = {steps}" for steps, fid in PAPER.items())
    for figure, sign, source in (("FD held-out", 1, f"FID: {paper}"), ("variety", -1, "no such figure")):
        sides = {steps: [_cell(rows, steps, eta, figure) for eta in ("eta 0", "eta 1")] for steps in counts}
        gaps = {steps: [sign * (b - a) for a, b in zip(*side)] for steps, side in sides.items()}
        for steps in [steps for steps in (5, 10) if steps in counts]:
            ours = " against ".join(map(spread, sides[steps]))
            found.append(_claim(f"{figure} at {steps} steps: eta 0 beats eta 1", source, ours, mean(gaps[steps]) > 0))
        text = f"{figure}: what eta 0 is ahead of eta 1 shrinks from S = {counts[0]} to {counts[-1]}"
        ours = ", ".join(f"S = {steps}: {spread(gap)}" for steps, gap in gaps.items())
        found.append(_claim(text, source, ours, mean(gaps[counts[-1]]) < mean(gaps[counts[0]])))
    return found


def of_sigma_hat(rows: list[dict]) -> list[Claim]:
    """sigma-hat is the worst of WAYS at 10 steps, by FD and by the noise that is left, and the best by FD at 1,000."""
    cases = (10, max, "worst", "FD held-out"), (10, max, "worst", "noise left"), (1000, min, "best", "FD held-out")
    return [_of_sigma_hat(rows, *case) for case in cases]


def _of_sigma_hat(rows: list[dict], steps: int, pick, word: str, figure: str) -> Claim:
    text = f"{figure}: sigma-hat is the {word} at {steps} steps"
    paper = "FID: " + ", ".join(f"{way} {fid}" for way, fid in PAPER[steps].items())
    if steps not in _counts(rows):
        return Claim("07", text, paper, "", None, "it takes --full")
    cells = {way: _cell(rows, steps, way, figure) for way in WAYS}
    ours = ", ".join(f"{way} {spread(values)}" for way, values in cells.items())
    return _claim(text, paper, ours, pick(cells, key=lambda way: mean(cells[way])) == "sigma-hat")


def of_reconstruction(rows: list[dict]) -> Claim:
    """The error of going to noise and back falls with S, in every seed."""
    tables = [[row["error"] for row in rows if row["seed"] == seed] for seed in sorted({row["seed"] for row in rows})]
    ours = ", ".join(spread(column, 2) for column in zip(*tables))
    holds = all(table == sorted(table, reverse=True) for table in tables)
    text = f"the reconstruction error falls with S = {', '.join(map(str, _counts(rows)))}, in every seed"
    return _claim(text, "the ordering (2010.02502, table 2)", ours, holds)


def _of_solvers(solved: list[dict]) -> Claim:
    ddim, fast = ([row[name] for row in solved] for name in ("DDIM, 20 steps", "DPM-Solver++(2M), 10 steps"))
    text = "FD held-out: DPM-Solver++(2M) at 10 steps is no worse than DDIM at 20"
    ours = f"{spread(fast)} against {spread(ddim)}"
    return _claim(text, "the ordering (2211.01095)", ours, mean(fast) <= mean(ddim))


def _of_same(rows: list[dict]) -> Claim:
    names = [name for name in rows[0] if name != "steps"]
    text = "the same x_T gives the same picture at 20 and at 100 steps: correlation of pixels above 0.9 at eta 0 alone"
    ours = ", ".join(f"{name} {spread([row[name] for row in rows])}" for name in names)
    holds = min(row[names[0]] for row in rows) > 0.9 > max(row[names[1]] for row in rows)
    return _claim(text, "shown by pictures (2010.02502, figure 5)", ours, holds)


def _claim(text: str, paper: str, ours: str, holds: bool) -> Claim:
    by_judge = text.startswith("FD")  # the only figure whose failure was looked into
    return Claim("07", text, paper, ours, holds, FLOOR if by_judge and not holds else "")


def _counts(rows: list[dict]) -> list[int]:
    return sorted({row["steps"] for row in rows})


def _cell(rows: list[dict], steps: int, noise: str, figure: str) -> list[float]:
    return [row[figure] for row in rows if (row["steps"], row["noise"]) == (steps, noise)]


def _steps_rows(models: dict[int, Denoiser], counts, full: bool) -> list[dict]:
    rows = []
    for steps in counts:
        for seed, model in models.items():
            rows += steps_row(model, steps, seed)
            if full:
                stored.write("07_steps", COMMAND, rows)  # so far: 1,000 steps take most of the time
    return rows


def _reconstruction_rows(models: dict[int, Denoiser], counts, full: bool) -> list[dict]:
    rows = []
    for steps in counts:
        errors = {seed: reconstruction(model, steps) for seed, model in models.items()}
        rows += [{"seed": seed, "steps": steps, "n": 64, "error": round(e, 6)} for seed, e in errors.items()]
        if full:
            stored.write("07_reconstruction", COMMAND, rows)
    return rows
