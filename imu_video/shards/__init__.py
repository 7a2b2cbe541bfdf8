"""Windows on disk and back: writing, index, columns, plan, loader; cutting is in recordings, models live elsewhere."""
