"""Figures, tables and one page from result files alone: nothing here computes an error or runs a model."""

from sciml_cf.report.comparison import compare_runs
from sciml_cf.report.contact_sheet import contact_sheet
from sciml_cf.report.single import report_run
from sciml_cf.report.tables import baseline_table, comparison_table, transfer_table

__all__ = ["baseline_table", "compare_runs", "comparison_table", "contact_sheet", "report_run", "transfer_table"]
