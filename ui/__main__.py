"""`python -m ui run ...`: `streamlit run ...` with the libraries of a page loaded before the first one is asked for."""

import pandas as pd  # noqa: F401
from streamlit.web.cli import main

import medmm.read.view
import medmm.store.store  # noqa: F401

if __name__ == "__main__":
    main(prog_name="streamlit")
