"""What is said of a study as DICOM objects that lie in that study: a report, captures of overlays, maps."""
