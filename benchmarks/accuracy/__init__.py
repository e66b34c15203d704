"""medmm and what it has to pass, on the same folds by patient: `python -m benchmarks.accuracy COHORT --out FOLDER`."""
