# make demo   environment, sample cohort, training, scoring, review screen on 127.0.0.1 (NO_BROWSER=1: print and end)
# make test   environment, tests, lint, types, import contracts

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
READY := $(VENV)/.ready
DEV := $(VENV)/.dev

.PHONY: demo test check clean

demo: $(READY)
	$(BIN)/medmm demo $(DEMO) $(if $(NO_BROWSER),--no-browser)

# A file of tests stays on one core, so that what it shares is made once.
test: check
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The lock goes in first and whole, so that what is built from the ranges in pyproject.toml is what was tested.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# The browser tests need Debian's chromium; PACS and objects sent to it its Orthanc, dciodvfy and DCMTK; a store on a
# server its PostgreSQL; the search for burned-in text the libraries that OpenCV draws on. Anywhere else, put these on
# the PATH.
$(DEV): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lite2,login,postgresql]' --group dev
	(command -v chromium && command -v Orthanc && command -v dciodvfy && command -v storescp \
	  && test -x "$$(ls -d /usr/lib/postgresql/*/bin/pg_ctl | tail -1)" \
	  && test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so) >/dev/null 2>&1 || \
	  (apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  chromium dcmtk dicom3tools orthanc orthanc-dicomweb postgresql libgl1 libglib2.0-0 >/dev/null)
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
