"""Files to frozen cases: DICOM studies, photographs, notes, records and cohort tables."""

READING = "4"
"""Part of every key under which something made of a case is kept; changes when the same files read otherwise."""
