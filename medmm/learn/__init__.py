"""From a cohort to a model: split, encode once, fit, stack, calibrate."""
