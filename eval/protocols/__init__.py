"""Evaluation protocols, one module or package each."""
