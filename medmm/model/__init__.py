"""The network: frozen encoders, one head for each modality, their stack, and cross-modal attention."""
