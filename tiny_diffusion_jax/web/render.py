"""Render a template and values to one self-contained HTML file.

Markup is in templates/, style and scripts in static/. Every value that a template prints is
escaped. Data for scripts use the filter `tojson`, which escapes them for a <script>.
"""

from importlib import resources
from pathlib import Path

from tiny_diffusion_jax.files import atomic

HERE = resources.files("tiny_diffusion_jax.web")


def render(template: str, **values) -> str:
    """Return templates/`template` with `values`; `asset(name)` is the text of static/`name`.

    A name that a template uses and `values` lacks is an error.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (HERE / "templates" / name).read_text("utf-8")),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["asset"] = lambda name: Markup((HERE / "static" / name).read_text("utf-8"))
    return environment.get_template(template).render(**values)


def write_page(path: Path, html: str) -> None:
    """Write the HTML to `path`, completely or not at all."""
    with atomic(path) as part:
        # Names of files may hold bytes that are no text: shown as \udcXX.
        part.write_text(html, encoding="utf-8", errors="backslashreplace")
