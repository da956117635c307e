"""Every Python block of README.md and docs/*.md does what the page says; the reference page is the one the table gives.

A block with `>>>` is a doctest. A block without is a program: each of its printing lines says in a comment what it prints,
as in `print(y)  # 24.7041`. The blocks of a page share their names, top to bottom, like a session at the prompt.
"""

import ast
import contextlib
import doctest
import io
import re
import runpy
from pathlib import Path

import pytest

from chainrule import ops

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
OPTIONS = doctest.ELLIPSIS


def blocks(text, language):
    """The fenced blocks of one language, each with the line on which it begins."""
    return [(text[: m.start(2)].count("\n"), m[2]) for m in BLOCK.finditer(text) if m[1] == language]


def run_doctest(source, names, page, line):
    """What a doctest block reports as failed; empty when all is well."""
    test = doctest.DocTestParser().get_doctest(source, {}, page, page, line)
    test.globs = names  # not a copy: later blocks see what this one defines
    report = io.StringIO()
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.write, clear_globs=False)
    return report.getvalue()


def promised(source):
    """The comments behind the calls of print, in order; None where there is no comment."""
    lines = source.splitlines()
    calls = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    ends = [lines[call.end_lineno - 1][call.end_col_offset :] for call in sorted(calls, key=lambda call: call.lineno)]
    return [end.partition("#")[2].strip() or None for end in ends]


def run_program(source, names):
    """What a program block prints differently from what its comments promise; empty when all is well."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "<block>", "exec"), names)
    printed, expected = out.getvalue().splitlines(), promised(source)
    return "" if printed == expected else f"printed {printed}, promised {expected}"


def failures(text, page):
    """Everything on a page that does not do what it says."""
    names = {"__name__": "__page__"}
    return [
        report
        for line, source in blocks(text, "python")
        if (report := run_doctest(source, names, page, line) if ">>>" in source else run_program(source, names))
    ]


@pytest.fixture
def own_table(monkeypatch, tmp_path):
    """A page may register operations and write files; neither outlives it."""
    monkeypatch.chdir(tmp_path)
    before = dict(ops.TABLE)
    yield
    for name in set(ops.TABLE) - set(before):
        del ops.TABLE[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("own_table")
def test_every_python_block_does_what_the_page_says(page):
    assert failures(page.read_text(encoding="utf-8"), page.name) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_python_hides_outside_of_python_blocks(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0
    assert {m[1] for m in BLOCK.finditer(text)} <= {"python", "sh", "text", "math"}
    assert ">>>" not in BLOCK.sub("", text)
    assert not any(">>>" in source for language in ("sh", "text", "math") for _, source in blocks(text, language))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings], target


def test_the_reference_page_is_the_one_the_table_gives():
    reference = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == reference["page"](), "run: python docs/make_reference.py"


@pytest.mark.parametrize("op", ops.BUILT_IN, ids=lambda op: op.name)
def test_the_reference_page_has_every_operation(op):
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert f"\n## {op.name}\n" in written
    assert op.doc in written


@pytest.mark.parametrize("op", ops.ARRAY_TABLE.values(), ids=lambda op: op.name)
def test_the_reference_page_has_every_array_operation(op):
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert f"`{op.name}`" in written
    assert f"\n### {op.name}\n" in written or op.name == "scatter"  # which no program writes
    assert op.doc in written


def test_the_reference_page_has_a_topic_for_every_name_of_a_tensor():
    assert "### More" not in (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), "add it to TOPICS of make_reference"


def test_the_test_notices_what_is_wrong():
    fine = "```python\n>>> x = 2\n>>> x + 1\n3\n```\n\n```python\nprint(x)  # 2\nfor i in range(1):\n    print(i)  # 0\n```\n"
    assert failures(fine, "page") == []
    assert "Expected" in failures(fine.replace("\n3\n", "\n4\n"), "page")[0]
    assert "promised" in failures(fine.replace("# 2", "# 3"), "page")[0]
    assert "promised" in failures(fine.replace("  # 2", ""), "page")[0]
    with pytest.raises(ZeroDivisionError):
        failures("```python\n1 / 0\n```\n", "page")


def test_the_picture_of_readme_is_the_one_the_code_makes():
    drawn = runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))["drawing"]()
    assert (ROOT / "docs" / "pictures" / "neuron.dot").read_text(encoding="utf-8") == drawn.source


def changed(picture, other, side=13):
    """The share of small squares whose mean colour is another; a letter that sits a pixel further changes none."""
    squares = []
    for image in (picture, other):
        height, width = (n // side for n in image.shape[:2])
        cut = image[: height * side, : width * side, :3]
        squares.append(cut.reshape(height, side, width, side, 3).mean((1, 3)))
    return (abs(squares[0] - squares[1]).max(2) > 0.15).mean()


def test_the_pictures_of_the_lessons_are_the_ones_the_code_makes():
    image = pytest.importorskip(
        "matplotlib.image", reason="the pictures are drawn with matplotlib: pip install 'chainrule[train]'"
    )
    for name, figure in runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))["by_hand"]():
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=130)
        drawn.seek(0)
        now, committed = image.imread(drawn), image.imread(ROOT / "docs" / "pictures" / f"{name}.png")
        assert now.shape == committed.shape, name
        assert changed(now, committed) < 0.002, f"{name}: run python docs/make_pictures.py"
