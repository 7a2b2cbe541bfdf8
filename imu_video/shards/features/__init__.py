"""A frozen teacher over a data folder, computed once and restartable; `reading.teacher_cache` opens what it leaves."""
