"""An executed notebook as one HTML page that can be mailed, read offline and printed."""

import re

from helpers import files

# tag of a cell that the page leaves out; "new-page" begins a page in print
NOT_EXPORTED = "notebook-only"
TILES_STYLE = """
.report-head p { color: #5b6875; margin: 4px 0 }
.report-head .only { border: 1px solid; color: #D55E00; border-radius: 3px; padding: 1px 8px }
.report-tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 16px 0 }
.report-tiles div { border: 1px solid #dfe4e8; border-radius: 6px; padding: 10px 14px }
.report-tiles b { display: block; font-size: 28px; line-height: 1.4; font-weight: 600 }
.report-tiles span { color: #5b6875; font-size: 13px; display: block }
.report-tiles .liver b { color: #0072B2 }
.report-tiles .tumour b { color: #D55E00 }
.report-words { border-left: 4px solid #0072B2; padding: 2px 20px; margin: 18px 0 }
.report-words li { margin: 4px 0 }
"""
PAGE_STYLE = """
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1d2733;
       background: #fff; max-width: 1080px; margin: 0 auto; padding: 32px 28px 80px }
h1 { font-size: 26px; margin: 0 0 2px; letter-spacing: -.01em }
h2 { font-size: 18px; margin: 44px 0 6px }
p { margin: 8px 0; max-width: 82ch }
pre { font: inherit; white-space: pre-wrap; color: #5b6875; margin: 8px 0; max-width: 110ch }
.report-words { background: #f5f7f9; padding: 12px 20px }
.output_html { overflow-x: auto }
table { border-collapse: collapse; font-size: 13.5px; margin: 10px 0 }
td { font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 5px 14px 5px 0; vertical-align: top }
th { color: #5b6875; font-weight: 500; border-bottom: 1px solid #b9c2ca; vertical-align: bottom }
td { border-bottom: 1px solid #dfe4e8 }
th:first-child, td:first-child { text-align: left }
caption { caption-side: bottom; text-align: left; color: #5b6875 }
img { max-width: 100%; height: auto; display: block; margin: 14px 0 22px }
@page { size: A4; margin: 14mm }
@media print {
  body { padding: 0; max-width: none; font-size: 12px }
  h2, .text_cell { break-after: avoid }
  h2 { margin-top: 24px }
  img, tr, .report-tiles, .report-words { break-inside: avoid }
  img { max-height: 120mm; width: auto }
  .report-tiles span { font-size: 11px }
  thead { display: table-header-group }
  table { font-size: 9.5px }
  th, td { padding-right: 8px }
  .output_html { overflow: visible }
  .celltag_new-page { break-before: page }
}
"""


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
    head = f'<meta charset="utf-8"><title>{title}</title><style>{PAGE_STYLE}</style>'
    files.write_text(
        page, f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
    )


def _passing(output):
    """True for what a notebook says while it works: stderr, and bars, which return to a line's
    begin.
    """
    return output.get("name") == "stderr" or "\r" in output.get("text", "")
