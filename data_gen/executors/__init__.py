"""Where tasks are computed: in this process, in several, or on a Dask cluster."""
