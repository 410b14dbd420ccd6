"""A command of the command line, run in this process."""

from sciml_cf.cli import main


def call(capsys, *words):
    """(exit status, standard output, standard error)."""
    try:
        main([str(word) for word in words])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    shown = capsys.readouterr()
    return status, shown.out, shown.err
