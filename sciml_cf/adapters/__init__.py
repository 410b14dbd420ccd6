"""Seams to other people's trainers, a file for each; each works with the library as it is installed, unmodified."""
