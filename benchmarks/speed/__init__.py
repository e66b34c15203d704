"""How fast studies are scored, where the time goes, and how fast a pipeline written by hand is."""
