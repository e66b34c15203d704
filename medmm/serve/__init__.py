"""A trained model behind HTTP: one case a request or a bundle of them, answered as JSON, FHIR or DICOM SR."""
