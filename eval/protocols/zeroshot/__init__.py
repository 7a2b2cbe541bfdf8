"""Zero-shot classification in four forms: from video, by source labels, by teacher labels, by text.

The forms are different claims, each with a module; common.py holds what they share. The form is part of every result
line, and the report never puts two forms into one table.
"""
