"""A folder of studies to predictions: bad ones become rows, a rerun skips what is done."""
