"""Colours for what speaks for a finding and what speaks against it; they differ for the colour-blind too."""

from medmm.write.paint import COOL, FULL, WARM, overlay_png, paint, reach

__all__ = ["COOL", "FULL", "WARM", "overlay_png", "paint", "reach"]
