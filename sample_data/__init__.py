"""Makes the sample cohort: chest films, notes and records whose truth is known."""
