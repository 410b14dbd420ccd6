"""The place of a new run, checked before anything slow is imported or read."""

from __future__ import annotations

from pathlib import Path

RUN_FILE = "run.json"  # what makes a folder a run


def check_place(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise where a run cannot be made, as far as the folder's name and the run in it say.

    Raises:
        FileNotFoundError: the folder that should hold ``out`` is missing.
        FileExistsError: ``out`` is a file; or a run, and neither ``resume`` nor ``overwrite`` was asked for.
        ValueError: both were.
    """
    if not out.parent.is_dir():
        raise FileNotFoundError(f"fit: `out` must lie in an existing folder; got {out}. Create {out.parent} first.")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"fit: `out` must be a folder for the run; got the file {out}. Choose another path.")
    if resume and overwrite:
        raise ValueError(
            "fit: `resume` and `overwrite` must not both be set; got both. Continue the run or replace it."
        )
    if (out / RUN_FILE).is_file() and not (resume or overwrite):
        raise already_there(out)


def already_there(out: Path) -> FileExistsError:
    """The error of a folder that is occupied."""
    return FileExistsError(
        f"fit: `out` must not exist yet; got {out}. Use --resume to continue it or --overwrite to replace it."
    )
