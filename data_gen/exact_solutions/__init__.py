"""Exact solutions that check solvers and files, one family a module; nothing here steps in time."""
