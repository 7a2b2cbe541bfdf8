"""Result lines: their format, storage and intervals."""
