"""The site: `python -m sphinx -W docs site` reads the Markdown of this folder, and needs no network."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "ponas-deploy"
author = "the ponas-deploy maintainers"
extensions = ["myst_parser", "command_reference"]
exclude_patterns = ["extensions"]

# Blocks without a language are what a terminal or a file holds.
highlight_language = "none"
nitpicky = True

# Links to a heading of a page (`page.md#its-heading`) work as they do where the repository is read.
myst_heading_anchors = 4
# Quotation marks and dashes stay as they are written.
smartquotes = False

html_theme = "furo"
html_title = "ponas-deploy"
html_copy_source = False
html_show_copyright = False
