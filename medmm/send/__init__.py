"""What medmm made of studies back to a PACS, each object until it is acknowledged."""
