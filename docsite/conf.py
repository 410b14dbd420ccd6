"""Settings of the site for Sphinx. `python -m docsite` builds it, with warnings as errors."""

from importlib.metadata import version as _version

project = "sciml_cf"
author = "the sciml_cf authors"
release = version = _version("sciml-cf")
html_title = f"sciml_cf {release}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docsite.mathml"]
root_doc = "index"
default_role = "literal"
nitpicky = False
keep_warnings = False
highlight_language = "none"

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
myst_fence_as_directive = ["math"]

# Notebooks are stored with their outputs: `python -m docsite.notebooks` runs them.
nb_execution_mode = "off"
# Docstrings are in Google's style.
napoleon_numpy_docstring = False
napoleon_use_ivar = True
strip_signature_backslash = True

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
# Summaries of search results are fetched, which a browser refuses for pages on the disk.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": False, "top_of_page_buttons": []}
