"""Completions of the command line, asked of the shells themselves where they are installed."""

import contextlib
import io
import re
import shutil
import subprocess

import pytest

from data_gen.cli.flags import flags_type
from data_gen.equations import equation_names
from sciml_cf.cli import COMMANDS, main
from sciml_cf.studies import study_names

LINES = {
    "tra": {"train"},
    "train --opti": {"--optimizer"},
    "train --optimizer ada": {"adam", "adamw"},
    "generate kdv": {"kdv", "kdv_burgers"},
    "generate heat --diff": {"--diffusivity"},
    "generate heat --comp": {"--compression"},
    "study figure2 --pres": {"--preset"},
    "convert --from": {"--from"},
    "validate --js": {"--json"},
    "report --qui": {"--quiet"},
}
ASK = {
    "bash": """. "$1"
read -r -a COMP_WORDS <<< "$2"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_sciml_cf_or_files; printf '%s\\n' "${COMPREPLY[@]}" """,
    "fish": 'source $argv[1]; complete -C "$argv[2]"',
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A folder with the scripts of all shells."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        text = io.StringIO()
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as stop:
            main(["--completion", shell])
        assert not stop.value.code
        (folder / shell).write_text(text.getvalue())
    return folder


@pytest.mark.parametrize("shell", ASK)
def test_the_shell_completes(scripts, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    for line, wanted in LINES.items():
        words = [program, "-c", ASK[shell], *(["-"] if shell == "bash" else []), scripts / shell, f"sciml-cf {line}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert {found.split("\t")[0] for found in done.stdout.split("\n")} - {""} == wanted, (line, done.stderr)


def test_the_scripts_name_every_command_equation_and_study(scripts):
    for shell in ("bash", "zsh", "fish"):
        text = (scripts / shell).read_text()
        for name in (*COMMANDS, *equation_names(), *study_names()):
            assert f"'{name}': {{'description': " in text, (shell, name)


def test_fish_gets_no_argument_beyond_the_limit_of_linux(scripts):
    text = (scripts / "fish").read_text()
    assert "| $python_cmd - $words" in text and '-c "$pycode"' not in text


def test_a_file_is_completed_where_no_flag_fits(scripts):
    assert (scripts / "bash").read_text().endswith("complete -o default -F _sciml_cf_or_files sciml-cf\n")
    assert (scripts / "zsh").read_text().rstrip().endswith('_tyro_sciml_cf "$@" || _files')
    assert "--force-files" in (scripts / "fish").read_text().splitlines()[-1]


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"]])
def test_other_shells_are_refused_in_one_line(capsys, words):
    with pytest.raises(SystemExit) as stop:
        main(["--completion", *words])
    shown = capsys.readouterr()
    assert stop.value.code == 2 and not shown.out
    assert re.fullmatch(r"error: sciml-cf: `--completion` must name one shell of bash, zsh, fish; got .*\n", shown.err)


def test_a_command_without_flags_is_refused():
    with pytest.raises(TypeError, match="`command` must call parse; <lambda> does not"):
        flags_type(lambda words: "", [])
