"""Frozen representations: a probe fitted on all training windows, evaluated on the test windows."""
