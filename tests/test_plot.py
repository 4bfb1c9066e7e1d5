"""plot and tables: pictures pixel for pixel, every text inside the figure, numbers rounded, bad input refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minidiff import plot
from minidiff.support.tables import rounded


def pictures(n, channels=1, height=4, width=5):
    return torch.rand(n, channels, height, width) * 2 - 1


def grey(value):
    """The bytes of a number in [-1, 1]."""
    return round((value + 1) * 127.5)


def texts(figure):
    """Every text of the figure that is not empty, with its box in screen pixels."""
    figure.canvas.draw()
    found = [text for text in figure.findobj(plt.Text) if text.get_text() and text.get_visible()]
    return {text: text.get_window_extent() for text in found}


def screen(figure):
    """The figure as drawn: (height, width, 3) bytes."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def contains(page, picture):
    """Whether `picture` lies on `page`, byte for byte."""
    windows = np.lib.stride_tricks.sliding_window_view(page[..., 0], picture.shape[:2])
    places = np.argwhere(windows[:, :, 0, 0] == picture[0, 0, 0])
    height, width, _ = picture.shape
    return any((page[y : y + height, x : x + width] == picture).all() for y, x in places)


def test_tile_puts_every_pixel_in_its_place():
    x = pictures(5)
    page = plot.tile(x, columns=3, scale=2, gap=1)
    assert page.shape == (2 * (4 + 1 + 4), 2 * (3 * 5 + 2), 3) and page.dtype == np.uint8
    for k in range(5):
        top, left = 2 * 5 * (k // 3), 2 * 6 * (k % 3)
        for row, column in [(0, 0), (3, 4), (1, 2)]:
            block = page[top + 2 * row : top + 2 * row + 2, left + 2 * column : left + 2 * column + 2]
            assert (block == grey(x[k, 0, row, column].item())).all()
    assert (page[8:10] == 255).all() and (page[10:, 2 * 12 :] == 255).all()  # the gap, and the place left over


def test_tile_keeps_colours_and_clamps():
    x = torch.tensor([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1)
    assert plot.tile(x).tolist() == [[[0, 128, 255]]]
    assert plot.tile(x.numpy().astype("float64")).tolist() == [[[0, 128, 255]]]
    assert plot.tile(x.requires_grad_(), lead=1).tolist() == [[[255, 255, 255]], [[0, 128, 255]]]


@pytest.mark.parametrize("title", [None, "A title far wider than the picture under it could ever be"])
def test_grid_is_sharp_on_the_screen(title):
    x = pictures(7, height=8, width=8)
    figure = plot.grid(x, columns=4, title=title, scale=5)
    assert contains(screen(figure), plot.tile(x, 4, scale=5))
    assert figure.get_facecolor() == (1, 1, 1, 1)


def test_grid_of_any_size_is_readable():
    for side, width in [(8, 64), (16, 64), (32, 64), (96, 96)]:
        assert plot.grid(pictures(1, 3, side, side)).axes[0].get_window_extent().width == pytest.approx(width)


@pytest.mark.parametrize("titles", [torch.tensor([3, 1]), torch.tensor([3.0, 1.0]), np.array([3, 1]), ["3", "1"]])
def test_titles_may_be_a_tensor(titles):
    found = texts(plot.grid(pictures(2), titles=titles))
    left, right = sorted(found, key=lambda text: found[text].x0)
    assert (float(left.get_text()), float(right.get_text())) == (3, 1)


def test_titles_are_inside_and_apart():
    names = [f"label {k}, reparameterisation with 0.5" for k in range(6)]
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(6, 3, 8, 8)
    figure = plot.grid(red, columns=3, titles=names, title="All")
    found = texts(figure)
    assert {text.get_text().replace("\n", " ") for text in found} == {*names, "All"}
    boxes = list(found.values())
    assert all(figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 for b in boxes)
    assert all(figure.bbox.y0 <= b.y0 and b.y1 <= figure.bbox.y1 for b in boxes)
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    page = screen(figure)[::-1].astype(int)  # upwards, as the boxes are
    for box in boxes:  # text is grey, the pictures red: no red where there is text
        part = page[int(box.y0) + 1 : int(box.y1) - 1, int(box.x0) + 1 : int(box.x1) - 1]
        assert (part[..., 0] == part[..., 1]).all()


def test_rows_are_labelled_in_order_and_padded_with_white():
    a, b = pictures(3, height=16, width=16), pictures(2, height=16, width=16)
    figure = plot.rows({"real": a, "drawn by a model with quite a long name": b}, title="Rows")
    blank = torch.cat([a, b, torch.ones(1, 1, 16, 16)])
    assert contains(screen(figure), plot.tile(blank, 3, scale=4))
    found = {text.get_text().replace("\n", " "): box for text, box in texts(figure).items()}
    assert found["real"].y0 > found["drawn by a model with quite a long name"].y1  # the first is above
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in found.values())


def test_curve_draws_each_form_of_line():
    ax = plot.curve({"a": torch.tensor([3.0, 1.0], requires_grad=True), "b": ([0, 10], [1, 2])}, xlabel="step")
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0, 3], [1, 1]], [[0, 1], [10, 2]]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"] and ax.get_xlabel() == "step"
    assert plot.curve([1, 2, 3], ax) is ax and len(ax.lines) == 3
    assert (
        len({(line.get_color(), line.get_linestyle()) for line in plot.curve({k: [1] for k in range(20)}).lines}) == 20
    )


def test_scatter_gives_each_label_a_colour_and_a_shape():
    points, labels = torch.randn(200, 2), torch.arange(200) % 25
    ax = plot.scatter(points, labels, title="Points")
    assert len(ax.collections) == 25
    looks = {(c.get_facecolor().tobytes(), c.get_paths()[0].vertices.tobytes()) for c in ax.collections}
    assert len(looks) == 25
    for k, drawn in enumerate(ax.collections):
        np.testing.assert_allclose(drawn.get_offsets(), points[labels == k])
    ax.figure.canvas.draw()
    drawn, room = ax.get_tightbbox(), ax.figure.bbox  # with its legend, title and numbers
    assert room.x0 <= drawn.x0 and drawn.x1 <= room.x1 and room.y0 <= drawn.y0 and drawn.y1 <= room.y1
    assert len(plot.scatter(points, ax=ax).collections) == 26


def test_paths_go_through_every_place_from_a_ring_to_a_dot():
    walk = torch.randn(5, 3, 2, requires_grad=True).cumsum(0)
    ax = plot.paths(walk, title="Walk")
    for k, line in enumerate(ax.lines):
        np.testing.assert_allclose(line.get_xydata(), walk[:, k].detach())
    start, end = ax.collections
    np.testing.assert_allclose(start.get_offsets(), walk[0].detach())
    np.testing.assert_allclose(end.get_offsets(), walk[-1].detach())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["start", "end"]
    assert len(ax.lines) == 3 and ax.get_title() == "Walk"
    assert plot.paths(walk, ax) is ax and len(ax.lines) == 6


def test_a_density_has_every_value_at_its_place():
    """A slope, which no mirroring and no half cell of a shift leaves as it is."""
    slope = lambda x: 3 * x[:, 0] + x[:, 1] + 5  # noqa: E731
    ax = plot.density(slope, limits=(-1, 1), side=4, ylabel="y")
    image = ax.images[0]
    assert image.get_extent() == [-1, 1, -1, 1] and image.origin == "lower" and ax.get_ylabel() == "y"
    centres = np.array([-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(image.get_array(), 3 * centres[None] + centres[:, None] + 5, rtol=1e-6)
    again = plot.density(torch.tensor(image.get_array()).log(), ax, limits=(-1, 1), log=True)
    assert again is ax and len(ax.images) == 2
    np.testing.assert_allclose(ax.images[1].get_array(), image.get_array(), rtol=1e-5)
    above = plot.density(lambda x: (x[:, 1] > 0).log(), limits=(-1, 1), side=2, log=True)  # log 0 is no error
    assert above.images[0].get_array().tolist() == [[0, 0], [1, 1]]
    assert plot.density(torch.rand(2, 3)).images[0].get_array().shape == (2, 3)


def test_arrows_start_at_their_points():
    ax = plot.arrows(lambda x: torch.stack([-x[:, 1], 2 * x[:, 0]], 1), limits=(0, 4), side=2, xlabel="x")
    (drawn,) = ax.collections
    places = np.array([[1, 1], [3, 1], [1, 3], [3, 3]])
    np.testing.assert_allclose(np.stack([drawn.X, drawn.Y], 1), places)
    np.testing.assert_allclose(np.stack([drawn.U, drawn.V], 1), [[-1, 2], [-1, 6], [-3, 2], [-3, 6]])
    assert drawn.angles == "xy" and ax.get_xlabel() == "x" and ax.get_aspect() == 1
    assert plot.arrows(lambda x: x, ax) is ax and len(ax.collections) == 2


def test_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    plot.grid(pictures(2)), plot.rows({"a": pictures(1)}), plot.curve([1.0]), plot.scatter(torch.randn(3, 2))
    plot.paths(torch.randn(2, 3, 2)), plot.density(torch.rand(2, 2)), plot.arrows(lambda x: x)


TABLE = [
    {"model": "VAE", "FD": 12.345, "n": 1500, "share": torch.tensor(0.5)},
    {"model": "floor | x", "FD": None, "n": 3, "bits": 1234567.0},
]


def test_table_as_text():
    assert str(plot.table(TABLE)).splitlines() == [
        "model        FD     n  share     bits",
        "---------  ----  ----  -----  -------",
        "VAE        12.3  1500  0.500        –",
        "floor | x     –     3      –  1230000",
    ]
    assert repr(plot.table(TABLE)) == str(plot.table(TABLE))


def test_table_as_markdown():
    head, rule, _, last = plot.table(TABLE, digits=2)._repr_markdown_().splitlines()
    assert head == "| model | FD | n | share | bits |" and rule == "| :--- | ---: | ---: | ---: | ---: |"
    assert last == "| floor \\| x | – | 3 | – | 1200000 |"


@pytest.mark.parametrize(
    "value, text",
    [
        *[(0.0, "0.00"), (-0.5, "-0.500"), (9.999, "10.0"), (1234.5, "1230"), (0.000123456, "0.000123")],
        *[(1.2e-5, "1.20e-05"), (12345678.0, "1.23e+07"), (float("nan"), "nan"), (float("-inf"), "-inf")],
        *[(7, "7"), (1234567890, "1234567890"), (True, "True"), (None, "–"), ("text", "text"), (np.float32(2), "2.00")],
    ],
)
def test_rounded(value, text):
    assert rounded(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 10))
def test_rounded_is_the_nearest_with_that_many_digits(value, digits):
    assert float(rounded(value, digits)) == float(f"{value:.{digits - 1}e}")


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: plot.grid(torch.zeros(2, 16, 16)), ValueError, "images: .*expected shape .N, C, H, W."),
        (lambda: plot.grid(torch.zeros(2, 4, 16, 16)), ValueError, "images: .*1 or 3 channels"),
        (lambda: plot.grid(torch.zeros(2, 1, 0, 16)), ValueError, "images: .*not empty"),
        (lambda: plot.grid(torch.zeros(0, 1, 8, 8)), ValueError, "images: .*not empty"),
        (lambda: plot.grid(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), TypeError, "images: .*float tensor"),
        (lambda: plot.grid(torch.full((1, 1, 2, 2), float("nan"))), ValueError, "images: got NaN"),
        (lambda: plot.grid([[0.5]]), TypeError, "images: got .*list"),
        (lambda: plot.grid(pictures(2), columns=0), ValueError, "columns: got 0, expected at least 1"),
        (lambda: plot.grid(pictures(2), scale=1.5), TypeError, "scale: got 1.5"),
        (lambda: plot.grid(pictures(2), titles=["one"]), ValueError, "titles: got 1, .*2 pictures"),
        (lambda: plot.grid(pictures(2), titles=torch.tensor([1, 2, 3])), ValueError, "titles: got 3, .*2 pictures"),
        (lambda: plot.grid(pictures(2), titles=torch.ones(2, 3)), ValueError, r"titles: got shape \(2, 3\), expected"),
        (lambda: plot.tile(pictures(2), gap=-1), ValueError, "gap: got -1"),
        (lambda: plot.rows({}), TypeError, "images: got dict"),
        (lambda: plot.rows(pictures(2)), TypeError, "images: got Tensor"),
        (lambda: plot.rows({"a": torch.zeros(3)}), ValueError, "images.'a'."),
        (lambda: plot.rows({"a": pictures(1), "b": pictures(1, width=9)}), ValueError, "expected one shape"),
        (lambda: plot.curve({}), ValueError, "values: got an empty dict"),
        (lambda: plot.curve([]), ValueError, "values: got shapes"),
        (lambda: plot.curve({"a": ([1, 2], [1, 2, 3])}), ValueError, "values 'a'"),
        (lambda: plot.scatter(torch.zeros(3, 3)), ValueError, "points: .*expected shape .N, 2."),
        (lambda: plot.scatter(torch.zeros(3, 2), [1, 2]), ValueError, "labels: got shape .2,., expected .3,."),
        (lambda: plot.paths(torch.zeros(5, 2)), ValueError, r"trajectories: .*expected shape \(T, N, 2\)"),
        (lambda: plot.paths(torch.zeros(5, 7, 3)), ValueError, r"trajectories: .*expected shape \(T, N, 2\)"),
        (lambda: plot.paths(torch.zeros(1, 7, 2)), ValueError, "trajectories: .*at least 2 rows"),
        (lambda: plot.density(torch.zeros(9)), ValueError, r"values: .*expected shape \(H, W\)"),
        (lambda: plot.density(torch.zeros(2, 2).log()), ValueError, "values: got NaN or infinity"),
        (lambda: plot.density(lambda x: x), ValueError, r"values\(points\): .*expected shape \(40000,\)"),
        (lambda: plot.density(lambda x: x[:, :1], side=4), ValueError, r"values\(points\): .*expected shape \(16,\)"),
        (lambda: plot.density(lambda x: x[:, 0] / 0, side=4), ValueError, "values: got NaN or infinity"),
        (lambda: plot.density(lambda x: x[:, 0], side=0), ValueError, "side: got 0"),
        (lambda: plot.density(lambda x: x[:, 0], limits=(1, 1)), ValueError, "limits: got .1, 1., expected low < high"),
        (lambda: plot.density(lambda x: x[:, 0], limits=3), TypeError, r"limits: got 3, expected a pair"),
        (lambda: plot.arrows(lambda x: x[:, 0]), ValueError, r"field\(points\): .*expected shape \(400, 2\)"),
        (lambda: plot.arrows(lambda x: x * float("nan")), ValueError, r"field\(points\): got NaN"),
        (lambda: plot.arrows(torch.zeros(4, 2)), TypeError, "field: got Tensor, expected a function"),
        (lambda: plot.table([]), TypeError, "rows: "),
        (lambda: plot.table([{}]), TypeError, "rows: "),
        (lambda: plot.table([1, 2]), TypeError, "rows: "),
        (lambda: plot.table(TABLE, digits=0), ValueError, "digits: got 0"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
    assert not plt.get_fignums()  # and nothing is left open


def test_what_is_drawn_can_be_saved(tmp_path):
    images = torch.linspace(-1, 1, 3 * 64).view(3, 1, 8, 8)
    plot.grid(images).savefig(tmp_path / "grid.png")
    plot.curve([1, 2, 3]).figure.savefig(tmp_path / "curve.png")
    Image.fromarray(plot.tile(images, gap=0)).save(tmp_path / "tile.png")
    assert Image.open(tmp_path / "grid.png").size > (3 * 64, 64) and Image.open(tmp_path / "curve.png").size > (64, 64)
    saved = np.asarray(Image.open(tmp_path / "tile.png"))
    assert (saved[:, :, 0] == ((images.flatten(0, 1).permute(1, 0, 2).flatten(1) + 1) * 127.5).round().numpy()).all()


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: plot.grid(torch.zeros(2, 1, 8, 8), titles="ab"), "titles: got 'ab'"),
        (lambda: plot.grid(torch.zeros(2, 1, 8, 8), titles=3), "titles: got 3"),
        (lambda: plot.curve("abc"), "values: got 'abc'"),
        (lambda: plot.curve(None), "values: got"),
        (lambda: plot.curve({"a": [[1], [1, 2]]}), "values 'a': got"),
        (lambda: plot.curve([1, 2], ax=3), "ax: got int, expected matplotlib's Axes"),
    ],
)
def test_what_is_no_number_no_title_and_no_axes_is_named(call, told):
    with pytest.raises((TypeError, ValueError), match=told):
        call()
