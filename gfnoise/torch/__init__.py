"""gfnoise for torch."""
