"""Exact solutions to check solvers and files by; no time stepping here."""
