"""Reports from result lines: documents, tables, figures; the sections of a protocol are in its own package."""
