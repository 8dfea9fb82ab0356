"""Dask arrays: `graphs` of the public functions, and the `tasks` that run on their chunks."""
