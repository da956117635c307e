"""`chainrule show`: in this process, in a pipe, and in a terminal with keys; and the run that it steps through."""

import contextlib
import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import Tensor, Value, cli, gradients
from chainrule.nn import MLP
from chainrule.show import command, screen, stepping
from chainrule.show.colors import Paint, unpainted
from chainrule.show.expression import read
from chainrule.train import commands

COMMAND = [sys.executable, "-m", "chainrule"]
NEURON = ["tanh(x1*w1 + x2*w2 + b)", "x1=2", "x2=0", "w1=-3", "w2=1", "b=6.8813735870195432"]
LECTURE = "a=2; b=-3; c=10; e = a*b; d = e + c; f=-2; L = d*f"
ENDINGS = "take .html, .svg, .png, .dot or .txt"
STYLES = "python, numpy, torch, latex"
TREE = """\
tanh  data 0.7071  grad 1.0000
└─ +  data 0.8814  grad 0.5000  local 0.5000
   ├─ +  data -6.0000  grad 0.5000  local 1.0000
   │  ├─ *  data -6.0000  grad 0.5000  local 1.0000
   │  │  ├─ x1  data 2.0000  grad -1.5000  local -3.0000
   │  │  └─ w1  data -3.0000  grad 1.0000  local 2.0000
   │  └─ *  data 0.0000  grad 0.5000  local 1.0000
   │     ├─ x2  data 0.0000  grad 0.5000  local 1.0000
   │     └─ w2  data 1.0000  grad 0.0000  local 0.0000
   └─ b  data 6.8814  grad 0.5000  local 1.0000
"""
SCRIPT = """\
the inputs: a = 2, b = -3, c = 10, f = -2

forward, 3 steps
  1  e = a × b = 2 × -3 = -6
  2  d = e + c = -6 + 10 = 4
  3  L = d × f = 4 × -2 = -8

backward, 4 steps
  4  dL/dL = 1
  5  dL/dd = dL/dL × dL/dd = 1 × -2 = -2
       dL/dd = f = -2, as d (a × b)/da = b
     dL/df = dL/dL × dL/df = 1 × 4 = 4
       dL/df = d = 4, as d (a × b)/db = a
  6  dL/de = dL/dd × dd/de = -2 × 1 = -2
       dd/de = 1, as d (a + b)/da = 1
     dL/dc = dL/dd × dd/dc = -2 × 1 = -2
       dd/dc = 1, as d (a + b)/db = 1
  7  dL/da = dL/de × de/da = -2 × -3 = 6
       de/da = b = -3, as d (a × b)/da = b
     dL/db = dL/de × de/db = -2 × 2 = -4
       de/db = a = 2, as d (a × b)/db = a
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs `chainrule show` in this process: exit code, standard output, standard error."""

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            cli.main(["show", *map(str, args)])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- what it prints and writes --------------------------------------------------------------------------------------


def test_the_tree_and_the_page(run, folder):
    code, out, err = run(*NEURON)
    assert (code, out) == (0, TREE)
    assert err == "wrote graph.html, a page to open in a browser\n"
    page = (folder / "graph.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "tanh(x1*w1 + x2*w2 + b)" in page
    assert files(folder) == ["graph.html"]


def test_a_page_that_is_there_is_kept(run, folder):
    (folder / "graph.html").write_text("mine")
    assert run("a*b", "a=2", "b=3")[2].startswith("wrote graph-2.html")
    assert run("a*b", "a=2", "b=3")[2].startswith("wrote graph-3.html")
    assert (folder / "graph.html").read_text() == "mine"
    assert run("a*b", "a=2", "b=3", "--force")[2].startswith("wrote graph.html")
    assert (folder / "graph.html").read_text() != "mine"
    assert files(folder) == ["graph-2.html", "graph-3.html", "graph.html"]


def test_the_page_on_standard_output(run, folder):
    code, out, err = run(*NEURON, "-o", "-")
    assert (code, err) == (0, "")
    assert out.lower().startswith("<!doctype html>")
    assert files(folder) == []


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("g.html", b"<!"),
        ("g.svg", b"<svg"),
        ("g.png", b"\x89PNG"),
        ("g.dot", b"digraph {"),
        ("g.txt", TREE.encode()),
        ("g.SVG", b"<svg"),
    ],
)
def test_every_kind_of_file(run, folder, name, begins):
    code, out, err = run(*NEURON, "-o", name)
    assert (code, out) == (0, TREE)
    assert err.startswith(f"wrote {name}, ")
    assert (folder / name).read_bytes()[: len(begins)] == begins
    assert files(folder) == [name]


def test_a_file_that_is_there_needs_force(run, folder):
    (folder / "g.txt").write_text("mine")
    assert run("x*x", "x=3", "-o", "g.txt") == (
        2,
        "",
        "chainrule: g.txt exists already; choose another file, or --force to replace it\n",
    )
    assert (folder / "g.txt").read_text() == "mine"
    assert run("x*x", "x=3", "-o", "g.txt", "--force")[0] == 0
    assert (folder / "g.txt").read_text().startswith("*  data 9.0000")


def test_values_in_the_text_and_results_with_names(run):
    out = run(LECTURE, "-o", "g.txt")[1]
    assert out.splitlines()[0] == "L = *  data -8.0000  grad 1.0000"
    assert "e = *  data -6.0000  grad -2.0000  local 1.0000" in out


def test_all_steps(run, folder):
    assert run(LECTURE, "--step") == (0, SCRIPT, "")
    assert files(folder) == []  # it prints instead of writing a page
    assert run(LECTURE, "--step", "-o", "g.txt")[:2] == (0, SCRIPT)
    assert files(folder) == ["g.txt"]


@pytest.mark.parametrize("style", ["python", "numpy", "torch", "latex"])
def test_the_backward_pass_as_code(run, folder, style):
    code, out, err = run(LECTURE, "--code", style)
    assert (code, err) == (0, "")
    if style == "latex":
        assert r"\frac{\partial L}{\partial a}" in out
    elif style != "torch":
        names = {}
        exec(out, names)
        assert (names["da"], names["db"], names["df"]) == (6.0, -4.0, 4.0)
    assert files(folder) == []


def test_an_explanation(run, folder):
    code, out, err = run("x*y + x", "x=3", "y=4", "--explain", "x")
    assert (code, err) == (0, "")
    assert out.startswith("dL/dx = 5.0000, the sum over 2 paths\n")
    assert " +80.00 %        4.0000  x -> * -> " in out
    assert files(folder) == []


def test_large_expressions_fold(run):
    terms = " + ".join(f"tanh(w*x{i})" for i in range(60))
    code, out, _ = run(terms, "w=0.5", *(f"x{i}={i / 60}" for i in range(60)), "-o", "g.txt")
    assert code == 0
    assert "60 × [tanh(product)]" in out


def test_colours_when_they_are_wanted(run):
    painted = run(*NEURON, "-o", "g.txt", "--color")[1]
    assert "\x1b[32mgrad 1.0000\x1b[0m" in painted
    assert unpainted(painted) == TREE


def test_an_expression_may_begin_with_a_minus(run):
    for text in ("-x**2", "-2*x", "-(x + 1)", "- x", "−x"):
        code, _, err = run(text, "x=3", "-o", "g.txt", "--force")
        assert code == 0, err
    assert run("--", "-o*2", "o=3")[0] == 0


def test_the_browser_opens_the_page(run, folder, monkeypatch):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", lambda address: opened.append(address) or True)
    assert run("x*x", "x=3", "--open")[0] == 0
    assert opened == [(folder / "graph.html").resolve().as_uri()]
    monkeypatch.setattr(command.webbrowser, "open", lambda address: False)
    assert run("x*x", "x=3", "--step", "--open")[2].endswith("no browser was found here; open graph-2.html in one\n")


def test_the_help_and_its_examples(run, folder, monkeypatch):
    code, out, _ = run("--help")
    assert code == 0
    assert "Usage: chainrule show [OPTIONS] EXPRESSION [NAME=NUMBER]..." in out
    assert all(option.help for option in command.show.params if option.opts[0].startswith("-"))
    monkeypatch.setattr(stepping, "usable", lambda: False)
    runner = CliRunner()
    for line in command.EPILOG.splitlines()[2:]:
        words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
        result = runner.invoke(commands.cli, words[1:])
        assert result.exit_code == 0, (line, result.output)


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((), "missing argument 'EXPRESSION'; see chainrule show --help"),
        (("a*b", "a=2"), "column 3: b has no value; give b=...\n  a*b\n    ^"),
        (("a*b", "a=2", "b=3", "c=4"), "c is given a value, but not in the expression, which has a and b"),
        (("a*b c", "a=2"), "column 5: an operator is missing before c, such as *\n  a*b c\n      ^"),
        (("a.b", "a=2"), "column 2: there are no attributes in an expression\n  a.b\n   ^"),
        (("a*b", "a=2", "b"), "'b' is no value; values are written NAME=NUMBER, and the expression stands in quotes before them"),
        (("a*b", "a=2", "b=two"), "'b=two': 'two' is not a number, such as 2, -0.5 or 1e-3"),
        (("a*b", "a=2", "b="), "'b=': '' is not a number, such as 2, -0.5 or 1e-3"),
        (("a*b", "a=2", "2b=3"), "'2b=3': '2b' cannot be a name; a name has letters, digits and _, and begins with no digit"),
        (("a*b", "a=2", "b=3", "a=4"), "a is given twice, as 2 and 4"),
        (("2*3",), "'2*3' has numbers alone, so there is nothing to differentiate; name one, as in x=2; x**2"),
        (
            ("1 + log(a)", "a=-1"),
            "log(a=-1.0) is outside the domain of log: the natural logarithm, for x > 0.\n  1 + log(a)\n      ^^^^^^",
        ),
        (("1 + sqrt(a)", "a=0"), "the derivative of sqrt(a=0.0) does not exist at this point\n  1 + sqrt(a)\n      ^^^^^^^"),
        (("a*a", "a=2", "-o", "g.jpg"), f"g.jpg: no file that ends with .jpg can be made; {ENDINGS}"),
        (("a*a", "a=2", "-o", "graph"), f"graph: the ending says what to write, and this name has none; {ENDINGS}"),
        (("a*a", "a=2", "-o", ""), "a file name is needed, not ''"),
        (("a*a", "a=2", "-o", "no/g.txt"), "cannot write no/g.txt: No such file or directory"),
        (("a*a", "a=2", "--code", "jax"), f"invalid value for '--code': 'jax' is none of {STYLES}; did you mean 'latex'?"),
        (("a*abc", "a=2", "abc=3", "--explain", "acb"), "nothing in the expression is called 'acb'; did you mean 'abc'?"),
        (("a*a", "a=2", "-o", "-", "--step"), "-o - puts the page on standard output, where nothing else fits; leave out --step"),
        (("a*a", "a=2", "--stpe"), "no such option '--stpe'; did you mean '--step'?"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else None,
)  # fmt: skip
def test_mistakes_are_one_sentence_with_the_place_and_leave_nothing(run, folder, args, sentence):
    code, out, err = run(*args)
    assert code == 2
    assert err.startswith(f"chainrule: {sentence}")
    assert err.endswith("\n")
    assert err.count("chainrule: ") == 1
    assert out == "" or "no/g.txt" in args
    assert files(folder) == []


def test_a_full_disk_leaves_nothing(run, folder, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "write_atomically", full)
    assert run("a*a", "a=2")[2] == "chainrule: cannot write graph.html: No space left on device\n"


# ---- a pipe ---------------------------------------------------------------------------------------------------------


def piped(*args, **environment):
    return subprocess.run(
        [*COMMAND, "show", *args], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_pipe_gets_plain_text_and_every_step():
    done = piped(LECTURE, "--step", PYTHONIOENCODING="utf-8", TERM="xterm-256color")
    assert (done.returncode, done.stdout, done.stderr) == (0, SCRIPT, "")


def test_a_pipe_that_holds_ascii_gets_ascii():
    done = piped(*NEURON, "-o", "g.txt", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "`- +  data 0.8814  grad 0.5000  local 0.5000"
    assert "dL/da = dL/de * de/da = -2 * -3 = 6" in piped(LECTURE, "--step", PYTHONIOENCODING="ascii").stdout


def test_a_reader_that_goes_away():
    done = subprocess.run(
        f"{sys.executable} -m chainrule show 'a*b' a=2 b=3 --step | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("the inputs: a = 2, b = 3\n", "")


# ---- a terminal -----------------------------------------------------------------------------------------------------

LEFT = "\x1b[?25h\x1b[?1049l"
pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


class Terminal:
    """A command in a terminal of its own, with keys to press and a screen to read."""

    def __init__(self, *args, command=(*COMMAND, "show"), **environment):
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.environ.pop("NO_COLOR", None)
            os.environ.update({"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment})
            os.execvp(command[0], [*command, *args])
        self.resize(30, 100)
        self.settings = termios.tcgetattr(self.fd)
        self.written = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words, since=0):
        """Read what is written until the words are in it."""
        deadline = time.monotonic() + 60
        while words not in self.written[since:]:
            assert time.monotonic() < deadline, self.written[since:]
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.written += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # Linux: the other side is closed
                    break
        assert words in self.written[since:], self.written[since:]
        return self.written[since:]

    def press(self, keys, until):
        """What is drawn after keys have been pressed, colours aside."""
        since = len(self.written)
        os.write(self.fd, keys.encode())
        return unpainted(self.read_until(until, since))

    def end(self):
        """The exit code, once the command has ended."""
        deadline = time.monotonic() + 60
        while True:
            if time.monotonic() > deadline:
                os.kill(self.process, signal.SIGKILL)
                raise AssertionError(self.written)
            with contextlib.suppress(OSError):
                if select.select([self.fd], [], [], 0.1)[0]:
                    self.written += os.read(self.fd, 65536).decode(errors="replace")
            pid, status = os.waitpid(self.process, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)

    def is_as_it_was(self):
        return termios.tcgetattr(self.fd)[:4] == self.settings[:4]


def test_stepping_with_keys():
    terminal = Terminal(LECTURE, "--step")
    first = terminal.read_until("q: quit")
    assert first.startswith("\x1b[?1049h\x1b[?25l")
    assert "step 0 of 7, the inputs" in first
    assert "e = a × b = 2 × -3 = -6" in terminal.press(" ", until="q: quit")
    assert "d = e + c = -6 + 10 = 4" in terminal.press("\x1b[C", until="q: quit")
    assert "step 1 of 7, forward" in terminal.press("\x1b[D", until="q: quit")
    last = terminal.press("\x1b[F", until="q: quit")
    assert "step 7 of 7, backward" in last
    assert "dL/da = dL/de × de/da = -2 × -3 = 6" in last
    assert "a  data 2.0000  grad 6.0000  local -3.0000" in last
    assert "step 0 of 7" in terminal.press("\x1b[H", until="q: quit")
    assert "go to step or name: 5" in terminal.press("g5", until="name: 5")
    assert "step 5 of 7, backward" in terminal.press("\r", until="q: quit")
    assert "step 7 of 7" in terminal.press("ge\r", until="q: quit")
    assert "there is no step 99; the last is 7" in terminal.press("g99\r", until="is 7")
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0
    assert terminal.written.endswith(LEFT)
    assert terminal.is_as_it_was()


def test_a_terminal_that_changes_its_size():
    terminal = Terminal(LECTURE, "--step")
    terminal.read_until("q: quit")
    since = len(terminal.written)
    terminal.resize(12, 40)
    assert "→ ← g q" in unpainted(terminal.read_until("g q", since))
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda x: str(int(x))
)
def test_a_killed_command_gives_the_terminal_back(number, code):
    terminal = Terminal(LECTURE, "--step")
    terminal.read_until("q: quit")
    assert not terminal.is_as_it_was()
    os.kill(terminal.process, number)
    assert terminal.end() == code
    assert LEFT in terminal.written
    assert terminal.is_as_it_was()
    assert "Traceback" not in terminal.written


def test_ctrl_c_is_a_key_like_any_other():
    terminal = Terminal(LECTURE, "--step")
    terminal.read_until("q: quit")
    os.write(terminal.fd, b"\x03")
    assert terminal.end() == 130
    assert terminal.written.endswith("chainrule: interrupted\r\n")
    assert terminal.is_as_it_was()


@pytest.mark.skipif(shutil.which("bash") is None, reason="suspending needs a shell with jobs: bash")
def test_a_suspended_command_gives_the_terminal_back_and_takes_it_again():
    shell = Terminal(command=["bash", "--norc", "--noediting", "-i"], PS1="$ ", HISTFILE="/dev/null")
    shell.read_until("$ ")
    shell.press(shlex.join([*COMMAND, "show", LECTURE, "--step"]) + "\n", until="q: quit")
    since = len(shell.written)
    assert "Stopped" in shell.press("\x1a", until="Stopped")
    assert LEFT in shell.written[since:]
    assert " icanon " in shell.press("stty -a\n", until="icanon")
    assert "step 0 of 7" in shell.press("fg\n", until="q: quit")
    assert "step 1 of 7" in shell.press(" ", until="q: quit")
    shell.press("q", until="$ ")
    shell.press("exit\n", until="exit")
    assert shell.end() == 0


def test_an_exception_gives_the_terminal_back():
    code = (
        "from chainrule.show.screen import Screen\n"
        "with Screen() as screen:\n    screen.draw(['here'])\n    screen.key()\n    raise ValueError('wrong')\n"
    )
    terminal = Terminal("-c", code, command=[sys.executable])
    terminal.read_until("here")
    os.write(terminal.fd, b"x")
    assert terminal.end() == 1
    assert terminal.is_as_it_was()
    assert terminal.written.index(LEFT) < terminal.written.index("ValueError: wrong")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_terminal_that_cannot_redraw_gets_every_step_and_one_without_colours_gets_none(environment):
    terminal = Terminal(LECTURE, "--step", **environment)
    if "TERM" in environment:
        assert terminal.end() == 0
        assert terminal.written.replace("\r\n", "\n") == SCRIPT
    else:
        os.write(terminal.fd, b"q")
        assert terminal.end() == 0
        assert not re.search(r"\x1b\[\d*m", terminal.written)


def test_a_terminal_gets_colours():
    terminal = Terminal("a*b", "a=2", "b=3", "-o", "g.txt")
    assert terminal.end() == 0
    assert "\x1b[32mgrad 1.0000\x1b[0m" in terminal.written


# ---- the run and its screens ----------------------------------------------------------------------------------------


def lecture():
    return read(LECTURE, {})


def test_a_run_knows_what_is_known_by_then():
    found = lecture()
    run = stepping.Run(found.root, found)
    e, a = found.nodes["e"], found.nodes["a"]
    assert (run.last, run.title()) == (7, "step 0 of 7, the inputs")
    assert (run.facts(e), run.facts(a)) == (("data ?", ""), (2.0, ""))
    run.go(1)
    assert run.facts(e) == (-6.0, "")
    run.go(4)
    assert (run.facts(found.root), run.facts(e)) == ((-8.0, 1.0), (-6.0, "grad ?"))
    run.go(6)
    assert run.facts(e) == (-6.0, -2.0)
    assert (run.has_passed(e), run.has_passed(found.nodes["d"])) == (False, True)
    run.go(99)
    assert run.at == 7
    run.go(-1)
    assert run.at == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_forwards_and_back_come_to_the_same(data):
    nodes = [Value(float(i + 1) / 2) for i in range(3)]
    for _ in range(data.draw(st.integers(1, 12))):
        a, b = (nodes[data.draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        nodes.append(data.draw(st.sampled_from([a + b, a * b, a - b, a.tanh()])))
    root = nodes[-1]
    run = stepping.Run(root)
    straight = []
    for at in range(run.last + 1):
        run.go(at)
        straight.append((dict(run.grads), run.words()))
    assert run.grads == gradients(root)
    for _ in range(20):
        at = data.draw(st.integers(0, run.last))
        run.go(at)
        assert (run.grads, run.words()) == straight[at]


def test_a_sum_that_runs_says_so():
    found = read("b = a + a; b*b", {"a": 1.0})
    run = stepping.Run(found.root, found)
    run.go(4)
    assert run.words() == [
        "dL/db = dL/dL × dL/db = 1 × 2 = 2",
        "  dL/db = b = 2, as d (a × b)/da = b",
        "dL/db = dL/dL × dL/db = 1 × 2 = 2",
        "  used 2 times, so the parts add up: 2 + 2 = 4",
        "  dL/db = b = 2, as d (a × b)/db = a",
    ]
    x = Value(3.0, label="x")
    run = stepping.Run(x * x + x)
    run.go(4)
    assert run.facts(x) == (3.0, "grad 1.0000 so far")


def test_names_and_numbers_to_go_to():
    found = lecture()
    run = stepping.Run(found.root, found)
    assert [run.find(name) for name in ("L", "d", "e", "a", "f")] == [5, 6, 7, 7, 5]
    assert run.find("nobody") is None
    run = stepping.Run(Tensor([1.0, 2.0], requires_grad=True, label="t").tanh().sum())
    assert run.find("t") == run.last


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 24, 60])
@pytest.mark.parametrize("columns", [1, 10, 40, 200])
def test_a_frame_fills_any_screen(rows, columns):
    found = lecture()
    player = stepping._Player(stepping.Run(found.root, found), Paint(True))
    for key in ["right"] * 8 + ["g", "x", "enter", "g", "escape", "home", "page down", "unknown"]:
        player.press(key)
        frame = player.frame(columns, rows)
        assert len(frame) <= rows
        assert rows < 3 or len(frame) == rows
        assert all(screen.width(screen.clipped(line, columns)) <= columns for line in frame)
    if rows >= 24 and columns >= 40:
        assert any("data 2.0000" in line for line in frame)


def test_large_graphs_show_what_is_around_the_node():
    model = MLP(2, [8, 8, 1])
    root = sum(model([i / 50, 1.0]) for i in range(50))
    run = stepping.Run(root)
    player = stepping._Player(run, Paint(False))
    player.press("end")
    frame = player.frame(100, 30)
    name = run.names[run.node]
    assert any(line.startswith(f"{name} = ") for line in frame)
    assert "used 50 times" in "\n".join(frame)


def test_keys_have_names():
    for typed, name in {
        "\x1b[C": "right",
        "\x1bOD": "left",
        "\x1b[1~": "home",
        "\x1b": "escape",
        "q": "q",
        "\x1b[99z": "unknown",
    }.items():
        assert screen._named(typed) == name


def test_lines_are_cut_by_columns():
    assert screen.clipped("\x1b[32mgrad 1.0000\x1b[0m", 6) == "\x1b[32mgrad \x1b[0m…"
    assert screen.clipped("漢字漢字", 5) == "漢字…"
    assert screen.clipped("short", 5) == "short"
