"""The pages: links hold, pictures are described, commands are ones that the programs take."""

import re
import shlex
import subprocess

import pytest

from helpers import predict, run, runs

LISTED = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=runs.HERE, capture_output=True, text=True)
PAGES = [runs.HERE / line for line in LISTED.stdout.splitlines()] or [runs.HERE / "README.md"]
IDS = [page.relative_to(runs.HERE).as_posix() for page in PAGES]
README = (runs.HERE / "README.md").read_text(encoding="utf8")


def anchors(page):
    """What follows # in links to the headings of a page, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_and_pictures(page):
    text = page.read_text(encoding="utf8")
    for alt in re.findall(r"!\[([^]]*)\]", text):
        assert len(alt.split()) >= 3, f"![{alt}] doesn't say what is seen"
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "mailto")):
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


def test_the_first_page_is_short():
    assert len(README.split()) <= 1200


def commands(module):
    """The words after `python -m module` in every page's code: (page, words); $k stands for 0."""
    for page, name in zip(PAGES, IDS):
        text = page.read_text(encoding="utf8").replace("\\\n", " ")
        code = [line for block in re.findall(r"```\n(.*?)```", text, re.S) for line in block.splitlines()]
        code += [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]
        for line in code:
            if found := re.search(rf"-m (?:-- )?{re.escape(module)} (.*?)(  #.*)?$", line):
                yield name, shlex.split(found[1].replace("$k", "0").replace('"$scan"', "scan"))


@pytest.mark.parametrize("page, words", commands("helpers.run"), ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_runs_that_pages_ask_for_are_taken(page, words, monkeypatch):
    """Notebooks, names and types of parameters; that a run or data are there is up to the reader."""
    monkeypatch.setattr(runs.Run, "known", lambda self: True)
    monkeypatch.setattr(run, "checked_data", str)
    ask = run.asked(words)
    assert run.planned(ask, runs.Run(ask.run))


def test_predictions_that_pages_ask_for_are_taken():
    asked = [predict.parsed(words) for _, words in commands("helpers.predict") if "…" not in words]
    assert len(asked) >= 4
    for options in asked:
        predict.checked_rules(options.set)


def test_parameters_that_pages_name_are_declared():
    from helpers.parameters import parameters_of

    known = {name for notebook in runs.NOTEBOOKS.glob("*.ipynb") for name in parameters_of(notebook)} | vars(predict.Rules()).keys()
    for page, name in zip(PAGES, IDS):
        for words in re.findall(r"--set ((?:'?\w+=[^\s`]+\s?)+)", page.read_text(encoding="utf8")):
            named = set(re.findall(r"(?:^|\s)'?(\w+)=", words))
            assert named <= known, f"{name}: {named - known}"


def test_licence_and_citation_are_there_and_no_identifier_is_invented():
    assert "Apache License" in (runs.HERE / "LICENSE").read_text(encoding="utf8")[:100]
    cited = (runs.HERE / "CITATION.cff").read_text(encoding="utf8")
    assert "license: Apache-2.0" in cited and "doi" not in cited.lower()
