"""How good is it: discrimination with intervals by patient, calibration, and the report."""
