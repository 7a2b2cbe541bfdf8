"""Optimiser parameter groups and learning-rate schedules; training loops live elsewhere."""
