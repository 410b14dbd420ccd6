"""Figures, tables and one page from result files alone: nothing here computes an error or runs a model."""

from sciml_cf.report.comparison import compare_runs, verdict_lines
from sciml_cf.report.contact_sheet import contact_sheet
from sciml_cf.report.document import comparison_document, run_document
from sciml_cf.report.single import report_run
from sciml_cf.report.tables import baseline_table, comparison_table, rollout_table, transfer_table
from sciml_cf.report.verdict import run_verdict, verdict

__all__ = [
    "baseline_table",
    "compare_runs",
    "comparison_document",
    "comparison_table",
    "contact_sheet",
    "report_run",
    "rollout_table",
    "run_document",
    "run_verdict",
    "transfer_table",
    "verdict",
    "verdict_lines",
]
