"""The commands: thin recipes over medmm, one file each; `cli` is the medmm command."""
