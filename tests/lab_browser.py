"""JupyterLab with a notebook in it, in a headless browser, as a person has it before them."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
LAB = ["--no-browser", "--ip=127.0.0.1", "--allow-root", "--expose-app-in-browser", "--LabApp.news_url=",
       "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip


def missing():
    """Why no browser can be started here; "" when one can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright isn't installed: pip install playwright"
    return "" if CHROMIUM else "there is no chromium: apt-get install chromium"


@contextlib.contextmanager
def lab(folder):
    """A JupyterLab server over a folder, settings and all; yields a function of a file's name that gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, own = secrets.token_hex(8), str(folder / "lab")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTER_RUNTIME_DIR")
    named = [f"--port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyter", "lab", *LAB, *named], stdout=log, stderr=log,
                                  env=os.environ | dict.fromkeys(places, own), cwd=folder)  # fmt: skip
        try:
            _answers(f"http://127.0.0.1:{port}/api?token={token}", server)
            yield lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?token={token}&reset"
        finally:
            server.terminate()
            server.wait(30)


def _answers(address, server):
    for _ in range(300):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(address, timeout=2)
        assert server.poll() is None, "JupyterLab ended; see lab.log"
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not answer for a minute")


@contextlib.contextmanager
def ran(folder, cells, size=(1280, 1000)):
    """A notebook of these code cells, opened in JupyterLab and run to its end; yields Playwright's page."""
    from playwright.sync_api import sync_playwright

    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}  # or it is asked for
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells], metadata=kernel)
    nbformat.write(notebook, folder / "look.ipynb")
    with lab(folder) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(90_000)
        page.goto(address("look.ipynb"))
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        _run_all(page, len(cells))
        yield page
        browser.close()


def _run_all(page, cells):
    """Run all cells, when the kernel is there, and wait for the last one."""
    page.wait_for_function("window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.connectionStatus === 'connected'")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    prompts = "[...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell .jp-InputPrompt')].map(e => e.textContent)"
    done = f"{prompts}.filter(p => /[0-9]/.test(p)).length === {cells}"
    page.wait_for_function(f"{done} || document.querySelector('.jp-NotebookPanel [data-mime-type$=error]')", timeout=300_000)
    page.wait_for_timeout(500)  # an error is drawn after its cell's number
    failed = page.locator(".jp-NotebookPanel [data-mime-type$=error]")
    assert not failed.count(), failed.first.inner_text()


def frames_a_second(page, count, act):
    """How many pictures a second `count` (JavaScript) goes up by while `act` moves something."""
    before, began = page.evaluate(count), time.perf_counter()
    act()
    seconds = time.perf_counter() - began
    return (page.evaluate(count) - before) / seconds


def drag(page, box, seconds=4.0, steps_a_second=60):
    """Press at the left of a box (x, y, width, height in pixels) and drag to its right and back, as a hand does."""
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 2, y)
    page.mouse.down()
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        share = 1 - abs(1 - 2 * passed / seconds)
        page.mouse.move(box["x"] + 2 + share * (box["width"] - 4), y)
        time.sleep(max(0, 1 / steps_a_second - (time.perf_counter() - began - passed)))
    page.mouse.up()


def hold(page, key, seconds=4.0, keys_a_second=30):
    """Hold a key down: it repeats as often as a keyboard repeats it."""
    began = time.perf_counter()
    for k in range(round(seconds * keys_a_second)):
        page.keyboard.down(key)
        time.sleep(max(0, began + (k + 1) / keys_a_second - time.perf_counter()))
    page.keyboard.up(key)
