"""Why: exact contributions of modalities, overlays on the original pixels, words."""
