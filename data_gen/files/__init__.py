"""Files that are written by one process at a time, checked, and whole under their names or not there."""
