"""Features of a frozen teacher for a data folder, computed once and resumable; `reading.teacher_cache` reads them."""
