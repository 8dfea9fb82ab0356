"""gfnoise beside other libraries on the same work; `run.py` runs it."""
