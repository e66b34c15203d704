"""A trained model behind HTTP: one case a request, answered as JSON, FHIR or DICOM SR."""
