"""The command line. Commands are looked up by name and imported when they are called: `generate` never loads torch."""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TextIO

from data_gen.cli.flags import UsageError
from data_gen.terminal.outcome import Outcome, strict_json
from data_gen.terminal.quiet import is_quiet, restored
from sciml_cf.errors import (
    BenchmarkError,
    CheckpointError,
    DatasetError,
    NotPositiveDefinite,
    SolverDiverged,
    TrainingDiverged,
)

JOB_ERRORS = (BenchmarkError, CheckpointError, DatasetError, NotPositiveDefinite, SolverDiverged, TrainingDiverged)

_DATA, _LEARN = "data_gen.cli", "sciml_cf.cli"
# name: (module, function of the words after the name, one-line summary)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "generate": (f"{_DATA}.generate", "generate_command", "make a dataset file: sciml-cf generate burgers --out FILE"),
    "info": (f"{_DATA}.inspect", "info_command", "say what a dataset file holds and how it was made"),
    "plot": (f"{_DATA}.inspect", "plot_command", "draw one figure of a dataset file"),
    "validate": (f"{_DATA}.inspect", "validate_command", "check a dataset file, with --truth against a truth"),
    "repack": (f"{_DATA}.repack", "repack_command", "copy a dataset into a compressed file, or back"),
    "convert": (f"{_DATA}.convert", "convert_command", "bring a data file into another format, or from one"),
    "train": (f"{_LEARN}.train", "train_command", "train an operator surrogate on a dataset file"),
    "evaluate": (f"{_LEARN}.evaluate", "evaluate_command", "measure a run at several resolutions and rolled out"),
    "predict": (f"{_LEARN}.predict", "predict_command", "apply a run to fields in a .npy file"),
    "rollout": (f"{_LEARN}.rollout", "rollout_command", "apply a run to its own output again and again"),
    "adapt": (f"{_LEARN}.adapt", "adapt_command", "solve a run's head again for new data: a new run in seconds"),
    "posterior": (f"{_LEARN}.adapt", "posterior_command", "make the error bars of a run that has none"),
    "compare": (f"{_LEARN}.evaluate", "compare_command", "put evaluated runs side by side"),
    "report": (f"{_LEARN}.evaluate", "report_command", "figures, tables and one HTML page of a run"),
    "study": (f"{_LEARN}.study", "study_command", "a whole study, from data to a page: sciml-cf study burgers-fno"),
}
# Spellings of version 0.1, which go on working.
OLD_COMMANDS = {name: (f"{_LEARN}.study", "old_spelling", "now `sciml-cf study`") for name in ("bench", "run")}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 the job failed, 2 wrong usage."""
    # Before torch is loaded: its threads sleep while they wait for each other, and do not spin. Beside another busy
    # process a training takes half as long again with threads that spin; alone there is no difference
    # (benchmarks/busy_machine.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: its words go nowhere, those for errors not to the output
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    with _written_out():
        _run(list(sys.argv[1:] if argv is None else argv))


@contextmanager
def _written_out() -> Iterator[None]:
    """Write out what was printed. Where that fails end with status 1, or with that of an error given before.

    Nothing is said where whoever reads the output has read enough, as in `--help | head`.
    """
    status: str | int | None = None
    try:
        try:
            yield
        except SystemExit as end:
            status = end.code
            raise
        finally:
            sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout)
        if not status and not isinstance(error, BrokenPipeError):
            reason = error.strerror or str(error)
            _fail(1, f"sciml-cf: standard output cannot be written ({reason}). Fix that, then run it again.")
        raise SystemExit(status or 1) from None


def _give_up(stream: TextIO) -> None:
    """Discard the rest of this stream's text: Python's own flush at the end would fail once more."""
    with suppress(OSError):  # it may have no file, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _output_is_read() -> bool:
    """Whether standard output still has a reader; where the system cannot tell, no."""
    if not hasattr(select, "poll"):
        return False
    look = select.poll()
    try:
        look.register(sys.stdout.fileno(), 0)  # errors are reported unasked
    except OSError:  # it has no file, as in a notebook, and so no reader who could leave
        return True
    return not look.poll(0)


def _run(words: list[str]) -> None:
    if not words or words[0] in _PAGES:
        try:
            print(_PAGES[words[0]](words[1:]) if words else _MAIN_PATH)
        except UsageError as error:
            _fail(2, str(error))
        raise SystemExit(0)
    if words[0] not in COMMANDS and words[0] not in OLD_COMMANDS:
        _fail(2, f"sciml-cf: unknown command {words[0]!r}; choose one of {', '.join(COMMANDS)}.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with restored(), _lines_on_files_once():
        _guarded(words[0], words[1:])


@contextmanager
def _lines_on_files_once() -> Iterator[None]:
    """Log a line of the readers of files once, however often the command opens the file."""
    filters = [(handler, _Once()) for handler in logging.getLogger().handlers]
    for handler, one in filters:
        handler.addFilter(one)
    try:
        yield
    finally:
        for handler, one in filters:
            handler.removeFilter(one)


class _Once(logging.Filter):
    """Lets a line pass once, of the loggers of the readers; and every line of the others."""

    def __init__(self) -> None:
        super().__init__("data_gen.formats")
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        passes = line not in self._passed or not super().filter(record)
        self._passed.add(line)
        return passes


# By command: arguments of its function that have another name on the command line.
_FLAGS = {
    "generate": {"path": "--out"},
    "predict": {"fields": "--input"},
    "evaluate": {"path": "--data"},
    "rollout": {"path": "--data"},
}


def _guarded(name: str, words: list[str]) -> None:
    """Run a command and print what it returns; turn every foreseen failure into one line and an exit status.

    Foreseen are the typed errors of both wings, what the operating system refuses, and bad arguments, whose messages
    name the argument in backquotes. Anything else is a defect, and keeps its traceback.
    """
    try:
        module, function, _ = {**COMMANDS, **OLD_COMMANDS}[name]
        command: Callable[[list[str]], str] = getattr(import_module(module), function)
        _show(command(words))
    except KeyboardInterrupt:
        _fail(1, "interrupted; what is finished is kept. The same command with --resume goes on, if it has that flag.")
    except (FileExistsError, UsageError) as error:
        _fail(2, _with_flags(name, str(error)))
    except (OSError, *JOB_ERRORS) as error:
        if isinstance(error, BrokenPipeError) and not _output_is_read():
            raise
        _fail(1, _with_flags(name, _refused(name, error)))
    except Exception as error:
        status, line = _foreseen(name, error)
        if not status:
            raise
        _fail(status, _with_flags(name, line))


def _with_flags(name: str, line: str) -> str:
    """A message with the flag that was typed where the function has another name for it."""
    for argument, flag in _FLAGS.get(name, {}).items():
        line = line.replace(f": `{argument}` must", f": `{flag}` must", 1)
    return line


def _show(outcome: str) -> None:
    """Print the text of a command, its next step on standard error, and end with status 1 if its job failed."""
    if outcome:  # of several processes only the first has something to say
        print(outcome, flush=True)
    if isinstance(outcome, Outcome):
        if outcome.failure:
            _fail(1, outcome.failure)
        if outcome.following and not is_quiet():
            print(f"Next: {outcome.following}", file=sys.stderr)


def _foreseen(name: str, error: Exception) -> tuple[int, str]:
    """Exit status and line of a bad argument, a missing extra, or too little memory; 0 of a defect."""
    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return (1 if "pip install" in text else 0), text  # an extra that this job needs
    if isinstance(error, RecursionError):
        return 1, f"sciml-cf {name}: a file is nested too deeply to be read. Is it damaged?"
    if isinstance(error, ValueError) and ("null byte" in text or "null character" in text):
        return 2, f"sciml-cf {name}: a path must have no NUL; one of the flags has. Check the paths."
    if isinstance(error, MemoryError) or _is_memory(error):
        return 1, f"sciml-cf {name}: not enough memory ({text[:160]}). Ask for fewer points, samples or channels."
    if isinstance(error, OverflowError):
        return 2, f"sciml-cf {name}: a number is too large ({text[:160]}). Give fewer points, samples or channels."
    return (2 if isinstance(error, ValueError | TypeError) and "`" in text else 0), text


def _refused(name: str, error: Exception) -> str:
    """The line of a failed job; what the operating system refused gets the command and what to do."""
    if not isinstance(error, OSError) or error.errno is None or error.strerror is None:
        return str(error)
    resumes = ", with --resume" if name in ("generate", "train") else ""
    where = " and ".join(str(path) for path in (error.filename, error.filename2) if path is not None) or "a file"
    return f"sciml-cf {name}: {where} cannot be used ({error.strerror}). Fix that, then run it again{resumes}."


def _is_memory(error: Exception) -> bool:
    """Whether torch or SuperLU found too little memory, or asked for an impossible amount of it."""
    text = str(error).lower() if isinstance(error, RuntimeError | TypeError) else ""
    words = ("can't allocate memory", "not enough memory", "out of memory", "storage size calculation overflowed")
    words += ("overflow when unpacking",)
    return any(word in text for word in (*words, "invalid shape dimension", "numel: integer multiplication overflow"))


def _fail(status: int, message: str) -> None:
    line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))  # names come from files too
    try:
        print(f"error: {line}", file=sys.stderr, flush=True)
    except OSError:  # the status says it too
        _give_up(sys.stderr)
    raise SystemExit(status)


def _version(words: list[str]) -> str:
    """The version, or with ``--json`` those of all that a result depends on; nothing is imported for it."""
    from sciml_cf import __version__

    if words != ["--json"]:
        return __version__
    from sciml_cf.training.versions import versions

    return strict_json(versions())


def _completion(words: list[str]) -> str:
    """The completion script of a shell; loads what `--help` of the commands loads."""
    from sciml_cf.cli.completion import completion

    return completion(words, COMMANDS)


def _overview(_: list[str]) -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {summary}" for name, (_, _, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sciml-cf COMMAND [flags]        (sciml-cf COMMAND --help lists the flags)",
            "",
            "Operator surrogates with a closed-form last layer: generate data, train, measure transfer.",
            "",
            *lines,
            "",
            "--version prints the version; with --json also those of the packages that results depend on.",
            "--completion SHELL prints a script that completes commands and flags in bash, zsh or fish.",
        ]
    )


#: For a call without arguments.
_MAIN_PATH = """From data to a report in four commands:
  sciml-cf generate burgers --samples 512 --resolution 1024 --out burgers.h5
  sciml-cf train --data burgers.h5 --out run --epochs 20
  sciml-cf evaluate run --data burgers.h5
  sciml-cf report run
sciml-cf --help lists all commands, sciml-cf COMMAND --help the flags of one."""
_PAGES: dict[str, Callable[[list[str]], str]] = {
    "-h": _overview,
    "--help": _overview,
    "--version": _version,
    "--completion": _completion,
}


if __name__ == "__main__":
    main()
