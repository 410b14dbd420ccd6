"""Measured-looking numbers in the hand-written part of a page.

Looked at is what is neither between the markers that a script fills, nor code, nor a formula. A number counts as
measured if it has the form of a result: a decimal in scientific notation, a percentage, a time or a size with its unit
(spelled out numbers too), or so many times faster, lower or as much. Settings, sizes of a grid, equation numbers and
years have none of these forms. What remains is for a person to judge: words around a number are listed in ``ALLOWED``
with the reason why it is no measurement.
"""

from __future__ import annotations

import re

_NUMBER = r"(?:\d+(?:\.\d+)?|two|three|four|five|ten|twelve|fifteen|twenty|thirty|fifty)"
_FORMS = [
    r"\d\.\d+e[-+]?\d+",
    r"\b\d+(?:\.\d+)? ?%",
    _NUMBER + r" ?(?:ms|s|seconds|minutes|hours|KB|MB|GB)\b",
    _NUMBER + r"(?:x| times)? (?:faster|slower|lower|higher|larger|smaller|cheaper|as (?:fast|long|large|much|many))\b",
    r"\b\d+(?:\.\d+)?x\b",
]
_MEASURED = re.compile("|".join(_FORMS))
#: Words around a number -> why it is not a measurement.
ALLOWED = {
    "the demo takes about 4 minutes": "rough times of commands, for a reader to plan by",
    "90 % interval": "the level that error bars are calibrated at",
    "90 % of the errors": "the same",
    "Only the 90 % level": "the same",
    "5 % level": "the level of a test",
    "95 % interval": "the level of an interval",
    "2 GB a variable": "a limit of MATLAB's format",
    "at most 512 MB": "a limit set in the code",
    "about 2 MB": "the size of a chunk, set in the code",
    "fifty times as long": "a setting of the benchmark",
}


def measured_by_hand(text: str) -> list[str]:
    """The surroundings of each number of a page that looks measured and was not put there by a script."""
    text = re.sub(r"<!-- ([\w -]+): [^\n]*-->\n.*?<!-- end of \1 -->", " ", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"^ {4}.*$", " ", text, flags=re.MULTILINE)
    found = []
    for match in _MEASURED.finditer(text):
        around = " ".join(text[max(0, match.start() - 60) : match.end() + 40].split())
        if not any(words in around for words in ALLOWED):
            found.append(around)
    return found
