"""Figures of the report as SVG or PNG bytes; matplotlib is imported only when a figure is drawn."""
