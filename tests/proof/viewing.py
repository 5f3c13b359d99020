"""What the viewer shows a second in a real browser, beside a slider for which the kernel makes a PNG a picture, into reports/proof.md."""

import sys
import tempfile
import time
from pathlib import Path

import psutil
import sections

sys.path.insert(0, str(Path(__file__).parents[1]))
import lab_browser  # noqa: E402 (tests/ holds what the tests share with the proof)

SHAPE = (500, 512, 512)
SCAN = """
import os, time
import numpy as np
rng = np.random.default_rng(0)
y, x = np.ogrid[:512, :512]
body = np.where(((y - 256) / 160) ** 2 + ((x - 256) / 210) ** 2 < 1, 60, -1000)
planes = [(body + rng.normal(0, 15, body.shape)).astype(np.int16) for _ in range(8)]
hu = np.stack([planes[z % 8] for z in range(500)])
reference = np.zeros(hu.shape, np.uint8)
for label, slices, radius in ((1, slice(150, 400), 90), (2, slice(200, 260), 20)):
    reference[slices, ((y - 240) / radius) ** 2 + ((x - 180) / radius) ** 2 < 1] = label
prediction = np.roll(reference, 4, 2)
print("process", os.getpid())
"""
PNG = """
import cv2, ipywidgets
from helpers import overlays
slider, image = ipywidgets.IntSlider(0, 0, 499, layout={"width": "600px"}), ipywidgets.Image()
def picture(z):
    drawn = overlays.enlarged(hu[z], overlays.of_both(reference[z], prediction[z]))
    rgb = overlays.paint(*drawn)
    return cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
slider.observe(lambda change: setattr(image, "value", picture(change["new"])), "value")
image.value = picture(0)
ipywidgets.VBox([image, slider])
"""
VIEWER = """
from helpers import viewer, views
view = viewer.View(hu, (1.0, 0.75, 0.75), reference, prediction)
began = time.perf_counter()
shown = viewer.Viewer(["scan"], lambda _: view)
print("opened", time.perf_counter() - began)
picture = lambda z: views.packed(view, 0, z)
shown
"""
TIMED = """
began = time.perf_counter()
for z in range(200, 260):
    made = picture(z)
print("made", 60 / (time.perf_counter() - began), "of", len(made) / 1e3)
"""
LOADED = "window.loaded = 0; document.addEventListener('load', e => { window.loaded += e.target.tagName === 'IMG' }, true)"
WAYS = {
    "a PNG a picture, as before": (PNG, ".widget-slider .noUi-target", ".widget-slider [role=slider]", "window.loaded"),
    "the viewer": (VIEWER, ".ct .track input", ".ct canvas", "Number(document.querySelector('.ct canvas')?.dataset.planes ?? 0)"),
}  # fmt: skip


def measured(cell, track, focus, count):
    """A dict of what one way does: pictures a second, processor time a picture, memory in MB."""
    with tempfile.TemporaryDirectory() as folder, lab_browser.ran(Path(folder), [SCAN, cell, TIMED]) as page:
        page.evaluate(LOADED)
        words = " ".join(page.locator(".jp-OutputArea-output pre").all_inner_texts()).split()
        values = {name: float(words[words.index(name) + 1]) for name in ("process", "opened", "made", "of") if name in words}
        kernel = psutil.Process(int(values["process"]))
        browser = page.context.new_cdp_session(page)
        browser.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.locator(focus).first.scroll_into_view_if_needed()
        page.locator(focus).first.focus()
        time.sleep(2)
        spent = [_kernel_s(kernel), _browser(browser)["TaskDuration"], page.evaluate(count)]
        values["keys"] = lab_browser.frames_a_second(page, count, lambda: lab_browser.hold(page, "ArrowRight", 6))
        page.wait_for_timeout(2000)
        shown = page.evaluate(count) - spent[2]
        values["kernel_ms"] = 1e3 * (_kernel_s(kernel) - spent[0]) / shown
        values["browser_ms"] = 1e3 * (_browser(browser)["TaskDuration"] - spent[1]) / shown
        page.keyboard.press("Home")
        page.locator(track).first.scroll_into_view_if_needed()
        page.wait_for_timeout(2000)
        box = page.locator(track).first.bounding_box()
        values["drag"] = lab_browser.frames_a_second(page, count, lambda: lab_browser.drag(page, box, 6))
        values["heap"] = _browser(browser)["JSHeapUsedSize"] / 1e6
        values["kernel"] = kernel.memory_info().rss / 1e6
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(2000)
        values["notebook"] = (Path(folder) / "look.ipynb").stat().st_size / 1e6
    return values


def _kernel_s(process):
    return sum(process.cpu_times()[:2])


def _browser(session):
    return {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}


def main():
    if reason := lab_browser.missing():
        print(f"viewing: left out, {reason}")
        return
    began, load = time.monotonic(), psutil.getloadavg()[0]
    by_way = {name: measured(*way) for name, way in WAYS.items()}
    columns = {"made": "made by the kernel, 1/s", "drag": "shown while dragging, 1/s", "keys": "shown while a key is held, 1/s",
               "kernel_ms": "kernel, processor ms", "browser_ms": "browser, processor ms", "of": "KB a picture"}  # fmt: skip
    rows = [[name, *(f"{values[key]:.0f}" for key in columns)] for name, values in by_way.items()]
    ours = by_way["the viewer"]
    text = f"""
A scan of {" × ".join(map(str, SHAPE))} voxels with two masks in JupyterLab and headless Chromium, on this machine (load {load:.0f} when it
began): its track is dragged from end to end and back, its slices are leafed through by a key that repeats 30 times a second. A
picture counts when it is painted. Processor time is that of the kernel and of the page's main thread, a picture.

{sections.table(["", *columns.values()], rows)}

The viewer opened the case in {ours["opened"]:.2f} s. The kernel held {ours["kernel"]:,.0f} MB with the scan and both masks (524 MB), the page
{ours["heap"]:,.0f} MB with what JupyterLab needs; planes in the browser are bounded by 160 MB. The saved notebook has {ours["notebook"]:.2f} MB.

{sections.stamp((time.monotonic() - began) / 60)}
"""
    sections.write("viewing", "What a person sees a second", text)
    print(text)


if __name__ == "__main__":
    main()
