"""The viewer as a person has it: JupyterLab in a browser, pixels of its canvas held against the array."""

import json
import time

import lab_browser
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(bool(lab_browser.missing()), reason=lab_browser.missing() or "-")
CELLS = [
    """
import numpy as np
from helpers import viewer
z, y, x = np.ogrid[:40, :64, :24]
hu = (10 * z + y // 32 * 100 - x // 12 * 50 + 0 * (z + y + x)).astype(np.int16)  # four quarters a slice, each of one HU
reference = (hu > 9999).astype(np.uint8)
reference[10:30, 8:28, 4:20] = 1
prediction = reference.copy()
reference[12:14, 10:14, 6:10] = 2  # met by nothing
reference[20:24, 16:20, 6:10] = prediction[20:24, 16:20, 8:12] = 2
prediction[26:28, 22:26, 14:18] = 2  # meets nothing
shown = viewer.Viewer(["one"], lambda _: viewer.View(hu, (3.0, 1.0, 2.0), reference, prediction))
shown
""",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with lab_browser.ran(tmp_path_factory.mktemp("lab"), CELLS) as page:
        page.wait_for_selector(".ct canvas[data-planes]")
        yield page


def at(page, plane):
    """Wait until a plane is painted, "axial 21"."""
    page.wait_for_function(f"document.querySelector('.ct canvas').dataset.shown === '{plane}'")


def show(page, plane, index):
    """Type a number and wait for its slice."""
    number = page.locator(".ct input[aria-label='number of the slice']")
    number.fill(str(index))
    number.dispatch_event("change")
    at(page, f"{plane} {index}")


def grey(page, down, right):
    """(red, green, blue) of the canvas at shares of its height and width, where a plane fills its height."""
    return page.evaluate(f"""() => {{
        const canvas = document.querySelector('.ct canvas');
        const [x, y] = [Math.floor(canvas.width * {right}), Math.floor(canvas.height * {down})];
        return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3) }}""")


def greys(hu, low, high):
    return [int(np.clip((hu - low) * 255 / (high - low) + 0.5, 0, 255))] * 3


def only_grey(page):
    for box in page.locator(".ct .layers input[type=checkbox]").all():
        box.uncheck()


def test_pixels_are_those_of_the_array(page):
    """A plane of 64 × 24 voxels of 1 × 2 mm fills the height, and is 0.75 times as wide as tall."""
    only_grey(page)
    show(page, "axial", 21)
    box = page.locator(".ct canvas").bounding_box()
    half = 0.375 * box["height"] / box["width"]  # of the plane, as a share of the canvas's width
    for window, (low, high) in {"soft tissue": (-160, 240), "bone": (-500, 1300)}.items():
        page.click(f".ct button:text-is('{window}')")
        time.sleep(0.3)
        for down, rows in ((0.3, 0), (0.8, 100)):
            for right, columns in ((0.5 - half / 2, 0), (0.5 + half / 2, -50)):
                assert grey(page, down, right) == greys(210 + rows + columns, low, high)
    assert grey(page, 0.3, 0.5 - 1.05 * half) == [0, 0, 0] != grey(page, 0.3, 0.5 - 0.95 * half)


def test_coronal_planes_have_the_head_above_and_true_proportions(page):
    """40 slices of 3 mm by 24 columns of 2 mm: row 4 of 40 from above is slice 35; 0.4 times as wide as tall."""
    only_grey(page)
    page.click(".ct button:text-is('coronal')")
    show(page, "coronal", 50)
    page.click(".ct button:text-is('soft tissue')")
    time.sleep(0.3)
    box = page.locator(".ct canvas").bounding_box()
    half = 0.2 * box["height"] / box["width"]
    left = 0.5 - half / 2
    assert grey(page, 4.5 / 40, left) == greys(350 + 100, -160, 240) == [255] * 3
    assert grey(page, 30.5 / 40, left) == greys(90 + 100, -160, 240)
    assert grey(page, 0.3, 0.5 - 1.05 * half) == [0, 0, 0]
    page.click(".ct button:text-is('axial')")


def test_wheel_keys_and_buttons_leaf(page):
    page.locator(".ct canvas").click()
    page.keyboard.press("Home")
    at(page, "axial 0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("PageUp")
    at(page, "axial 11")
    page.mouse.wheel(0, 100)
    at(page, "axial 10")
    page.click(".ct button:text-is('next lesion')")
    at(page, "axial 12")  # slices 12 and 13
    page.click(".ct button:text-is('next lesion')")
    at(page, "axial 21")
    page.click(".ct button:text-is('next false finding')")
    at(page, "axial 26")
    page.click(".ct button:text-is('next miss')")
    at(page, "axial 12")
    assert page.locator(".ct .strip i").count() == 4  # two lesions, one miss, one false finding
    assert "from 0 at the feet to 39" in page.locator(".ct [role=status]").inner_text()


def test_masks_have_the_colours_of_the_scheme_and_numbers_beside(page):
    """Slice 21: 20 × 16 voxels of liver, of them 4 × 4 tumour in the reference and as many two columns on in the prediction."""
    only_grey(page)
    page.click(".ct button:text-is('fit')")
    show(page, "axial", 21)
    page.check("[aria-label='show false']")
    page.locator("[aria-label='opacity of false']").fill("1")
    time.sleep(0.3)
    box = page.locator(".ct canvas").bounding_box()
    column = 2 * box["height"] / 64 / box["width"]
    places = {name: 0.5 + (x - 12) * column for name, x in (("missed", 7), ("met", 9), ("false", 11))}
    down = 18 / 64
    assert grey(page, down, places["false"]) == [0xF0, 0xE4, 0x42]
    assert grey(page, down, places["missed"]) == grey(page, down, places["met"]) == greys(210, -160, 240)
    table = page.locator(".ct table tr").all_inner_texts()
    ml = 16 * 6 / 1000
    assert table[1].split() == ["tumour,", "slice", f"{ml:.1f}", f"{ml:.1f}", "0.50"]


def test_what_lies_under_the_pointer(page):
    box = page.locator(".ct canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 3 * box["height"] / 64, box["y"] + 10.5 * box["height"] / 64)
    lines = page.locator(".ct .point").inner_text().splitlines()
    assert lines[:3] == ["160 HU", "voxel 13 · 10 · 21", "x y z 26.0 · 10.0 · 63.0 mm"]
    assert lines[3:] == ["reference: liver", "prediction: liver"]


def test_a_drag_of_the_track_shows_slice_after_slice(page):
    track = page.locator(".ct .track input[type=range]").bounding_box()
    count = "Number(document.querySelector('.ct canvas').dataset.planes)"
    assert lab_browser.frames_a_second(page, count, lambda: lab_browser.drag(page, track, 2.0)) > 3
    page.locator(".ct .track input[type=range]").press("End")
    at(page, "axial 39")


def test_the_saved_notebook_is_small_and_has_a_still_picture(page):
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    outputs = page.evaluate("""async () => {
        const answer = await fetch(`/api/contents/look.ipynb${location.search}`);
        return (await answer.json()).content.cells.flatMap((cell) => cell.outputs) }""")
    assert {"image/jpeg", "application/vnd.jupyter.widget-view+json"} < outputs[-1]["data"].keys()
    assert len(json.dumps(outputs)) < 200_000
