"""Sphinx settings of the documentation: `make docs` builds it into build/docs, with warnings as errors."""

import glossae

# The address of the repository, such as https://github.com/OWNER/glossae. With it, the notebooks' page links each
# notebook to Colab; without it there are no such links.
GLOSSAE_REPOSITORY = ""

project = "glossae"
author = "The glossae founders"
copyright = f"{author}. Apache-2.0"
version = release = glossae.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"glossae {release}"
html_show_sourcelink = False
html_copy_source = False

# notebooks are run by tests/docs, and are committed without outputs
nb_execution_mode = "off"
myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3
myst_substitutions = {
    f"colab_{name}": f"[open in Colab](https://colab.research.google.com/github/{path}/blob/main/examples/{name}.ipynb)"
    if (path := GLOSSAE_REPOSITORY.removeprefix("https://github.com/"))
    else ""
    for name in ("find_units", "public_sae", "steer")
}

# docstrings write names in single backticks
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures say them
napoleon_use_ivar = True
