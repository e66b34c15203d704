"""medmm: DICOM studies, notes and records in; calibrated, explained, reviewable findings out."""
