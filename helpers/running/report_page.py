"""An executed notebook as one HTML page that can be mailed, read offline and printed."""

import re
from pathlib import Path

from helpers import files

# tag of a cell that the page leaves out
NOT_EXPORTED = "notebook-only"
CONTENTS = "<nav></nav>"  # what a cell shows where the list of contents is to stand
PARTS_STYLE, PAGE_STYLE = (
    Path(__file__).with_suffix(".css").read_text(encoding="utf8").split("/* the page alone */")
)


def export(notebook, page):
    """Write an executed notebook without its code: the page needs no other file and no script.

    Cells tagged `notebook-only`, what went to stderr and bars are left out. Its first heading
    titles it.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(notebook, as_version=4)
    content.cells = [
        cell for cell in content.cells if NOT_EXPORTED not in cell.metadata.get("tags", [])
    ]
    for cell in content.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _passing(output)]
    left_out = dict.fromkeys(("input", "input_prompt", "output_prompt", "anchor_links"), True)
    exporter = HTMLExporter(
        template_name="basic", **{f"exclude_{name}": yes for name, yes in left_out.items()}
    )
    body, _ = exporter.from_notebook_node(content)
    title = re.search("<h1[^>]*>(.*?)</h1>", body)[1]
    links = ""
    for number, heading in enumerate(re.findall("<h2>(.*?)</h2>", body), start=1):
        body = body.replace("<h2>", f'<h2 id="section-{number}">', 1)
        links += f'<a href="#section-{number}">{heading}</a>'
    body = body.replace(CONTENTS, f'<nav aria-label="contents">{links}</nav>')
    style = PARTS_STYLE + PAGE_STYLE
    head = f'<meta charset="utf-8"><title>{title}</title><style>{style}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    body = f"<body><main>{body}</main></body>"
    files.write_text(page, f'<!doctype html><html lang="en"><head>{head}</head>{body}</html>\n')


def _passing(output):
    """True for what a notebook says while it works: stderr, and bars, which return to a line's
    begin.
    """
    return output.get("name") == "stderr" or "\r" in output.get("text", "")
