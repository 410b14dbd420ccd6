"""Terms of a page, explained where they are first used and in a folded list."""

from __future__ import annotations

import html
import re

TERMS = {
    "relative L2 error": "root of the squared error over the squared solution, summed over the points of a sample; the "
    "mean over samples",
    "rel. L2": "relative L2 error: root of the squared error over the squared solution, the mean over samples",
    "mse": "mean squared error over samples, channels and points",
    "mean squared error": "the squared error averaged over samples, channels and points",
    "validation": "samples that are not trained on; they decide which epoch is kept",
    "test samples": "samples that are neither trained on nor used to choose an epoch",
    "training mean": "a prediction that is always the mean of the training targets",
    "best linear map": "the matrix from input to output that has the lowest error on the training samples, regularised",
    "baselines": "predictions that need no trained model; a model that does not beat them has learned nothing",
    "linear part of the equation": "the exact solution of the equation without its nonlinear terms",
    "nearest training sample": "the target of the training sample whose input is nearest",
    "persistence": "the prediction that nothing changes",
    "native": "the model runs at that resolution and is compared with the solution at the same points",
    "fourier to": "the output is interpolated by Fourier series to the full grid and compared there",
    "linear to": "the output is interpolated linearly to the full grid and compared there",
    "resolution": "points along one axis",
    "epoch": "one pass over the training samples",
    "spectrum": "how the squared field is distributed over wavenumbers",
    "condition number": "how much rounding errors can grow in the head's linear system",
    "degrees of freedom": "how many weights of the head the data determine, the rest being held by the penalty",
    "head": "the last linear layer, which is solved and not trained",
    "VRMSE": "root mean square error over the standard deviation of the solution",
    "overfitting": "the training samples are fitted better and better, others worse",
}
_FIND = re.compile(rf"(?<![\w-])({'|'.join(sorted(map(re.escape, TERMS), key=len, reverse=True))})(?![\w-])", re.I)
_EXACT = {term.lower(): term for term in TERMS}


class Terms:
    """Which terms a page has used so far."""

    def __init__(self) -> None:
        self._used: list[str] = []

    def explained(self, text: str) -> str:
        """The text as HTML, each term with its explanation where the page uses it first."""
        parts, done = [], 0
        for match in _FIND.finditer(text):
            term = _EXACT[match[0].lower()]
            if term in self._used:
                continue
            self._used.append(term)
            meaning = html.escape(TERMS[term], quote=True)
            parts += [
                html.escape(text[done : match.start()]),
                f'<abbr title="{meaning}">{html.escape(match[0])}</abbr>',
            ]
            done = match.end()
        return "".join([*parts, html.escape(text[done:])])

    def listed(self) -> str:
        """All used terms in a folded list, for screens without a pointer; nothing where none was used."""
        if not self._used:
            return ""
        entries = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(TERMS[term])}</dd>" for term in self._used)
        return f"<details><summary>Terms on this page</summary><dl>{entries}</dl></details>"
