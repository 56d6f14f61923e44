"""Configure the site, which needs no network: `sphinx-build docs build/site`.

The packages are in the extra `docs`. Formulas become MathML, and docstrings in plain text become
reStructuredText.
"""

import inspect
import pkgutil
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.modules["td"] = import_module("tiny_diffusion_jax")  # for the names of the API, as td.train

project = html_title = "tiny_diffusion_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to sections, as GitHub makes them
suppress_warnings = ["myst.xref_missing"]  # links to the source lead out of the site
highlight_language = "none"  # of blocks without a language, which are commands
smartquotes = False
html_theme = "furo"
html_show_copyright = False
html_math_renderer = "mathml"
html_extra_path = ["live.html", "tour.html"]
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 80

# latex2mathml writes \sim as a letter, small primes, and no space after the name of a function.
SYMBOLS = {
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mi>&#x02032;</mi>": '<mi style="math-depth: 0">&#x02032;</mi>',
}
FUNCTION = re.compile(r"(<mi>(?:log|sin|cos|arctan)</mi>)(?=<m(?:i|sub|over|row|frac)\b)")


def mathml(formula: str, display: str) -> str:
    """Convert a LaTeX formula to MathML, which browsers draw without a script or a font."""
    text = convert(formula, display=display)
    for symbol, better in SYMBOLS.items():
        text = text.replace(symbol, better)
    return FUNCTION.sub(r'\1<mspace width="0.17em"/>', text)


def inline_formula(writer, node) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def displayed_formula(writer, node) -> None:
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


class Modules(SphinxDirective):
    """List the docstrings of a package and of its modules: first the modules in the content."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        package = self.arguments[0]
        path = import_module(package).__path__
        names = [module.name for module in pkgutil.iter_modules(path) if not module.ispkg]
        order = [*self.content, *(name for name in names if name not in self.content)]
        fence = "```{{eval-rst}}\n.. automodule:: {}\n   :members:\n```"
        room = package.rpartition(".")[2]
        text = [f"## {room}/\\_\\_init\\_\\_.py", fence.format(package)]
        for name in order:
            text += [f"## {room}/{name}.py", fence.format(f"{package}.{name}")]
        return self.parse_text_to_nodes("\n".join(text), allow_section_headings=True)


def to_rst(text: str) -> list[str]:
    """Convert a docstring in plain text to lines of reStructuredText.

    A paragraph that is indented, has aligned columns, or does not end like a sentence is an
    equation, a table or an example, so it keeps its lines.
    """
    lines = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        is_prose = paragraph.rstrip().endswith((".", ":", "!")) and not re.search(
            r"^\s|\S {2,}\S", paragraph, re.MULTILINE
        )
        if is_prose:
            literals = re.split(r"`([^`\n]+)`", " ".join(paragraph.split()))
            for i in range(0, len(literals), 2):
                literals[i] = re.sub(r"([\\*_`|<>])", r"\\\1", literals[i])
            literals[1::2] = [f"\\ ``{name}``\\ " for name in literals[1::2]]
            lines += ["\\ " + "".join(literals), ""]
        else:
            lines += [".. code-block:: text", "", textwrap.indent(paragraph, "   "), ""]
    return "\n".join(lines).split("\n")


def fields_of(cls) -> str:
    """Source lines of the fields of a class, with their types and comments; "" if it has none."""
    if not cls.__dict__.get("__annotations__"):
        return ""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return ""
    body = re.split(r"^    (?=def |@)", source, maxsplit=1, flags=re.MULTILINE)[0]
    body = re.sub(r'\A.*?"""(.*?)"""\n', "", body, flags=re.DOTALL)
    body = re.sub(r"^ *# -{10,}.*\n?", "", body, flags=re.MULTILINE)  # headings within the class
    return textwrap.dedent(body).strip()


def process_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    lines[:] = to_rst("\n".join(lines))
    if what == "class" and (fields := fields_of(obj)):
        lines += ["", ".. code-block:: python", "", *textwrap.indent(fields, "   ").split("\n"), ""]


def process_signature(app, what, name, obj, options, signature, returns):
    """Omit the arguments of a class whose fields are listed."""
    return ("", None) if what == "class" and fields_of(obj) else None


def skip_fields(app, what, name, obj, skip, options) -> bool | None:
    """Omit fields, because `fields_of` lists them, and the method that Flax adds to a class."""
    is_field = what == "class" and not callable(obj) and not isinstance(obj, property)
    return True if is_field or name == "replace" else None


def add_short_prefix(app, doctree) -> None:
    """Show the functions of the package itself as td.train, td.sample, ..."""
    for signature in doctree.findall(addnodes.desc_signature):
        if signature.get("module") == "td":
            index = signature.first_child_matching_class(addnodes.desc_name)
            signature.insert(index, addnodes.desc_addname("td.", "td."))


def setup(app) -> None:
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    app.add_directive("modules", Modules)
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-read", add_short_prefix)
