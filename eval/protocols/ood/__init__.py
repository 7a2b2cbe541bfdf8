"""The benchmark of domain shift: scenarios, runs, selection, tables; the algorithms lie in eval.algorithms."""
