"""Adapters for the libraries of medical imaging, each imported only by who names it."""
