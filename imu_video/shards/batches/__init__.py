"""Training batches of opened columns: which rows (plan), of which data sets (pool), at which step; opens no tar."""
