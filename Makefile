# The two commands of the README: `make demo` and `make test`. Each sets up what it needs in .venv, once.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
SOURCES = pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*)

.PHONY: demo test clean

demo: $(VENV)/.installed
	$(BIN)/densefield demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q

$(VENV)/.installed: $(SOURCES)
	@echo "setting up $(VENV): a minute or two, mostly PyTorch ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(SOURCES)
	@echo "setting up $(VENV) with the tests' tools: a minute or two, mostly PyTorch ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build
