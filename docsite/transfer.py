"""A Fourier neural operator and a convolutional network, trained at one resolution and measured at others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from data_gen import DatasetSpec, generate
from sciml_cf import ConvConfig, FieldDataset, FitConfig, FNOConfig, evaluate_transfer, fit
from sciml_cf.plots.style import nth_style

TRAINED_AT, SEEN = 64, (32, 64, 128, 256, 512)
MODELS = {"FNO": FNOConfig(width=16, modes=12, layers=3), "convolutions": ConvConfig(width=24)}
SPEC = DatasetSpec("burgers", parameters={"viscosity": 0.1}, samples=128, resolution=SEEN[-1])
CONFIG = FitConfig(epochs=25, batch_size=8, accelerator="cpu")


def transfer(picture: Path, scratch: Path) -> str:
    """Train both, draw their errors against the resolution, and return the picture with its table in Markdown."""
    path = generate(SPEC, scratch / "transfer.h5", progress=False)
    train, validation = (FieldDataset(path, part, resolution=TRAINED_AT) for part in ("train", "validation"))
    errors: dict[str, dict[str, np.ndarray]] = {}
    for name, builder in MODELS.items():
        model = builder.build(seed=0)
        fit(model, train, validation, config=CONFIG, out=scratch / f"run {name}", progress=False)
        found = evaluate_transfer(model, path, resolutions=SEEN)["relative_l2"]
        errors[name] = {output: found.sel(output=output).values for output in ("native", "fourier")}
    _draw(errors, picture)
    rows = [
        f"| {name} | {output} | {' | '.join(f'{value:.2g}' for value in values)} |"
        for name, found in errors.items()
        for output, values in found.items()
    ]
    return "\n".join(
        [
            f"{len(train)} training samples of Burgers at {TRAINED_AT} points, {CONFIG.epochs} epochs, one seed, "
            "made with this page. Relative L2 error, by the points that the model is run at:",
            "",
            f"![Errors of two models between resolutions](gallery/{picture.name})",
            "",
            f"| model | output | {' | '.join(map(str, SEEN))} |",
            "| --- | --- |" + " --- |" * len(SEEN),
            *rows,
        ]
    )


def _draw(errors: dict[str, dict[str, np.ndarray]], picture: Path) -> None:
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, found) in enumerate(errors.items()):
        for output, style in (("native", "-"), ("fourier", "--")):
            axes.loglog(SEEN, found[output], ls=style, label=f"{name}, {output}", **nth_style(place))
    axes.axvline(TRAINED_AT, color="k", lw=0.8, ls=":")
    axes.set(
        xlabel="points that the model is run at", ylabel="relative L2 error", title="dotted: resolution of training"
    )
    axes.set_xticks(SEEN, [str(n) for n in SEEN])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(picture, dpi=110)
