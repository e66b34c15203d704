"""Remarks that a person should look at, told apart from those that only say what the reader did.

A remark is a plain string, so that it survives tables, databases and other processes. One that begins with CONCERN
says that the reader had to guess, that something was lost, or that something looks wrong: 'check: gap of 5 mm after
slice 3 of 9'. Whoever makes a remark decides; nobody has to know the words of others.
"""

CONCERN = "check: "
"""How a remark begins that makes `medmm check` call its case a warning."""


def concern(remark: str) -> str:
    """Return the remark as one that a person should look at."""
    return CONCERN + remark


def is_concern(remark: str) -> bool:
    """Whether a person should look at what the remark speaks of."""
    return remark.startswith(CONCERN)


def about(what: str, remark: str) -> str:
    """Return the remark as one about something: 'prior study: second copy of a file left out'; a concern stays one."""
    said = f"{what}: {remark.removeprefix(CONCERN)}"
    return concern(said) if is_concern(remark) else said
