"""From raw streams to clean windows: units, resampling, subject splits, cutting; files are read in datasets."""
