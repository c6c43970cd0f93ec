"""Sphinx builds the documentation from these pages: ``make docs`` writes ``docs/_build/html``."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]

project = "qac-deploy"
author = "the authors of qac-deploy"
copyright = author
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_reference",
    "target_fields",
    "page_titles",
]
exclude_patterns = ["_build", "extensions"]
highlight_language = "text"
pygments_dark_style = "github-dark"

# Notebooks show the outputs that are stored in them; a test runs each of them anew.
nb_execution_mode = "off"
myst_heading_anchors = 4  # as on a git host: pipeline.md#the-bound

nitpicky = True
# types of Python, NumPy and torch, whose documentation is elsewhere, and internal ones
nitpick_ignore_regex = [("py:.*", r"(?!qac_deploy\.).*")]

add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
autodoc_class_signature = "separated"  # users get these objects from functions, and make none
autodoc_default_options = {"exclude-members": "__init__, __new__"}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_use_ivar = True

smartquotes = False  # options such as --json keep their dashes

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.no-copy):not(.highlight-text) > div.highlight > pre"
linkcheck_timeout = 20
linkcheck_retries = 2
