"""The site: `pip install sphinx myst-parser furo && sphinx-build docs build/site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "tiny_diffusion_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to sections, as GitHub makes them
suppress_warnings = ["myst.xref_missing"]  # links to the source lead out of the site
html_theme = "furo"
html_title = project
html_extra_path = ["live.html"]
html_static_path = ["site.css"]
html_css_files = ["site.css"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"


def as_written(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text with equations set in it: they keep their lines."""
    lines[:] = [".. code-block:: text", "", *("   " + line for line in lines), ""]


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_written)
