"""Files to frozen cases: DICOM studies, photographs, notes, records and cohort tables."""
