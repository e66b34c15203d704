"""What is written and measured of a patient: notes, record values, FHIR resources."""
