"""The history of a training: one row an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sciml_cf.errors import in_one_line
from sciml_cf.training.progress import percent

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class History:
    """One row an epoch: epoch, steps, learning_rate, train_loss, validation_mse, validation_relative_l2 (the mean over
    samples), seconds, and metrics of the head. Errors are in the data's units; with several target channels and
    normalization, train_loss is the loss of the normalized fields times the mean variance of the channels.

    Where ``fit`` was given an objective, validation_loss takes the place of validation_mse.

    Those are, unless the method is l2: head_change (over the epoch), jitter, the means over the epoch's solves
    head_step, gain, rebound and turn (see ``sciml_cf.head.Steps``), and of its last solve condition,
    degrees_of_freedom and feature_scale (see ``sciml_cf.head.Diagnostics``).

    Attributes:
        rows: a dict an epoch, of the names above.
        validation_samples: how many samples were validated.
    """

    rows: tuple[dict[str, float], ...]
    validation_samples: int = 0

    @property
    def best(self) -> dict[str, float]:
        """The row with the lowest validation error."""
        return min(self.rows, key=validation_error)

    def __repr__(self) -> str:
        """Epochs, the error of the best and of the last one, and the time."""

        def text() -> str:
            if not self.rows:
                return "no epochs"
            best, last = self.best, self.rows[-1]
            seconds = sum(row.get("seconds", 0.0) for row in self.rows)
            name = "validation mse" if "validation_mse" in best else "validation loss"
            relative = best.get("validation_relative_l2")
            shown = "" if relative is None else f" (relative L2 error {percent(relative)})"
            return (
                f"{len(self.rows)} epoch{'s' if len(self.rows) > 1 else ''} in {seconds:.3g} s; best epoch "
                f"{best['epoch']:.0f}: {name} {validation_error(best):.3g}{shown}; last: {validation_error(last):.3g}"
            )

        return in_one_line(self, text)

    def to_dataframe(self) -> pandas.DataFrame:
        """A row an epoch and a column a metric, as ``pandas.read_csv`` reads history.csv.

        Returns:
            pandas.DataFrame; a metric that an epoch lacks is NaN.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "History: `to_dataframe` must have pandas; it is not installed. Run pip install pandas, or use `rows`."
            ) from error
        return pandas.DataFrame(list(self.rows))

    def plot(self, *, ax: Any = None) -> Any:
        """Draw validation and training error against the epoch with ``sciml_cf.plots.plot_history``.

        Args:
            ax: matplotlib axes to draw on; by default those of a new figure.

        Returns:
            The axes.

        Raises:
            ValueError: there is no epoch.
        """
        from sciml_cf.plots import plot_history

        return plot_history(self, ax=ax)


def validation_error(row: Mapping[str, float]) -> float:
    """The figure that was validated: validation_mse, or validation_loss of an objective."""
    return row["validation_mse"] if "validation_mse" in row else row["validation_loss"]
