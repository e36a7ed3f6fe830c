# The two commands of the README: `make demo` and `make test`. Each sets up what it needs in .venv, once.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES = pyproject.toml constraints.txt CMakeLists.txt $(wildcard backend/*) $(shell find csrc -type f)
SET_UP  = @begun=$$(date +%s); $(INSTALL) $(1) && touch $@ && echo "set up in $$(( $$(date +%s) - begun )) seconds"

.PHONY: demo test clean

demo: $(VENV)/.installed
	$(BIN)/densefield demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q

$(VENV)/.installed: $(SOURCES)
	@echo "setting up $(VENV): minutes, for PyTorch and to compile the kernels ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call SET_UP,--editable .)

# On top of what is installed: a second install of the package would compile it again.
$(VENV)/.installed-test: $(VENV)/.installed
	@echo "adding the tests' tools to $(VENV) ..."
	$(call SET_UP,'densefield[test]')

clean:
	rm -rf $(VENV) build
