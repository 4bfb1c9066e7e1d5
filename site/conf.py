"""How Sphinx makes the pages; `build.py` lays the sources out and calls it. Nothing on a page comes from elsewhere."""

import re
from importlib.metadata import files

project = "minidiff"
author = "the minidiff authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
default_role = "code"  # `name` in a docstring is code

nb_execution_mode = "off"  # the notebooks are shown as they are stored
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # a lesson's headings go down as its text wants
    "mystnb.unknown_mime_type",
    "misc.highlighting_failure",  # an unfinished exercise need not parse
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}

# MathJax in one file, from the package sphinx-mathjax-offline: SVG, so no fonts, and it works from a folder too
[mathjax_file] = [file for file in files("sphinx-mathjax-offline") if file.name == "tex-svg.js"]
mathjax_path = "tex-svg.js"
html_static_path = ["static", str(mathjax_file.locate())]

html_theme = "furo"
html_title = "minidiff"
html_favicon = "static/icon.svg"
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


def docstring(app, what, name, obj, options, lines):
    """Our docstrings are plain text: keep their signs, and show what is indented after a line with `:` as code."""
    text = "\n".join(lines)
    parts = re.split(r"(`[^`\n]+`)", text)
    parts[::2] = [re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    lines[:] = _with_code("".join(parts), text).split("\n")


def _with_code(escaped: str, plain: str) -> str:
    """The indented blocks as they were written, each after a `::` of its own."""
    found, inside = [], False
    for line, raw in zip(escaped.split("\n"), plain.split("\n")):
        if line.startswith("    ") and (inside or not found or not found[-1].strip()):
            found += [] if inside else ["::", ""]
            inside = True
        elif line.strip():
            inside = False
        found.append(raw if inside else line)
    return "\n".join(found)


def setup(app):
    app.connect("autodoc-process-docstring", docstring)
