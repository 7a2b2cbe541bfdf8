"""Training batches from opened columns: selection of rows (plan), datasets (pool), steps (loader); no tars are read."""
