"""Executors of tasks: this process, several processes, or a Dask cluster."""
