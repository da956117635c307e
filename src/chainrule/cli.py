"""The command `chainrule`: `main`, and what it says when something goes wrong.

The commands themselves are in train/commands.py. It is imported when `main` runs, with everything heavy, so that this
file is there at once to answer a Ctrl-C. Whatever goes wrong becomes one sentence, `chainrule: ...`, on standard error and
exit code 2; an interrupted command exits with 128 plus the number of the signal, as a shell has it: 130 after Ctrl-C, 143
after SIGTERM, 129 after SIGHUP. CHAINRULE_DEBUG=1 shows the traceback as well. Sits on top of everything.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from chainrule.errors import ChainruleError


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    args: the words after `chainrule`; default those of the process, whose Ctrl-C and output are then arranged as well.
    """
    prepared = _prepared_process() if args is None else contextlib.nullcontext()
    with prepared as ready, _one_sentence():
        from chainrule.train import commands

        if ready is not None:
            ready()
        commands.cli.main(args, prog_name="chainrule", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    raise SystemExit(0)


@contextlib.contextmanager
def _prepared_process() -> Iterator[Any]:
    """Ctrl-C and output of a process that does nothing else; gives what is to be called when the imports are done.

    While packages are imported, an exception could be raised anywhere in them and come out as anything, so Ctrl-C leaves at
    once. After the command there is nothing to interrupt any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a sentence with a sign that the terminal has not
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background of a script
        yield None
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield lambda: signal.signal(signal.SIGINT, before)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"\nchainrule: interrupted\n")
    os._exit(128 + number)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit code."""
    try:
        yield
    except BaseException as error:
        told = _told(error)
        if told is None:
            raise
        _exit(error, *told)


def _told(error: BaseException) -> tuple[str, int] | None:
    """The sentence and the exit code for what was raised; None for a fault of the program, which is not hidden."""
    import click

    if isinstance(error, click.ClickException):
        return _usage(error), 2
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "interrupted", 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError):  # the reader has seen enough, as in `chainrule info | head -1`
        return "", 1
    if isinstance(error, ChainruleError):
        return str(error), 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else "cannot write the output: "
        return f"{where}{error.strerror or error}", 2
    if isinstance(error, UnicodeEncodeError):
        return f"the output cannot hold {error.object[error.start]!r} in {error.encoding}; set PYTHONUTF8=1", 2
    if isinstance(error, MemoryError):
        return "out of memory; smaller --samples, --batch-size or --hidden need less", 2
    return None


def _usage(error: Any) -> str:
    import click

    from chainrule.data.misspelled import did_you_mean

    message: str = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):  # click would make it two sentences
        known = [word for option in error.ctx.command.get_params(error.ctx) for word in option.opts] if error.ctx else []
        begun = [word for word in known if word.startswith(error.option_name)]
        message = f"no such option {error.option_name!r}{did_you_mean(error.option_name, begun or known)}"
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None and not message.endswith("?"):
        hint = f"; see {error.ctx.command_path} --help"
    return message[:1].lower() + message[1:] + hint


def _exit(error: BaseException, sentence: str, code: int) -> NoReturn:
    if os.environ.get("CHAINRULE_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    _complain(sentence, getattr(error, "__notes__", []) if isinstance(error, ChainruleError) else [])
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        # Python would try once more while it exits, and complain about what is told already.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(code)


def _complain(sentence: str, notes: list[str]) -> None:
    """One line on standard error, and the notes that mark a place; where even that cannot be written, the exit code must do."""
    if sentence and sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"chainrule: {' '.join(sentence.split())}\n")
            sys.stderr.writelines(f"{note}\n" for note in notes)
            sys.stderr.flush()
