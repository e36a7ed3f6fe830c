# The two commands of the README: `make demo` and `make test`. Each sets up what it needs in .venv, once.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
SOURCES = pyproject.toml constraints.txt CMakeLists.txt $(wildcard backend/*) $(shell find csrc -type f)
# What is compiled lies in build/ and is compiled once, whichever of the two comes first.
SET_UP  = @test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); begun=$$(date +%s); $(INSTALL) \
          $(1) && touch $(2) && echo "set up in $$(( $$(date +%s) - begun )) seconds"

.PHONY: demo test clean

demo: $(VENV)/.installed
	$(BIN)/densefield demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q

$(VENV)/.installed: $(SOURCES)
	@echo "setting up $(VENV): minutes, for PyTorch and to compile the kernels ..."
	$(call SET_UP,.,$@)

$(VENV)/.installed-test: $(SOURCES)
	@echo "setting up $(VENV) with the tests' tools: minutes, for PyTorch and to compile the kernels ..."
	$(call SET_UP,'.[test]',$@ $(VENV)/.installed)

clean:
	rm -rf $(VENV) build
