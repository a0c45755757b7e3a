# Two commands do all the set-up: `make demo` and `make test`. Both may be interrupted
# and repeated. Variables:
#   PYTHON           the Python to start from (3.11 to 3.13). If it has torch already, that
#                    torch is used; otherwise the one in constraints.txt is installed.
#   TORCH_INDEX_URL  an index to take torch from, for example PyTorch's CPU index
#   VENV             where the environment goes
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX_URL ?=
DEMO := demo

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CACHE := .cache
SOURCES := $(shell find paperzoo configs -type f -not -name '*.pyc') \
	setup.cfg pyproject.toml MANIFEST.in README.md
export OPENCV_LOG_LEVEL := ERROR

.PHONY: help demo test test-all lint format dev clean wheel
help:
	@echo 'make demo      install, train a small FCOS, test it, draw a page of pictures'
	@echo 'make test      install, then lint, types and all quick tests'
	@echo 'make test-all  the same with the slow tests'
	@echo 'make dev       editable install of everything, for working on paperzoo'
	@echo 'make format    let ruff format the code'
	@echo 'make clean     remove the environment, caches and the demo'

# --- environment ---------------------------------------------------------------------

$(VENV)/.base: constraints.txt
	@echo "== environment in $(VENV), about a minute and a half"
	@if $(PYTHON) -c 'import torch' 2>/dev/null; then \
	  echo 'using the installed torch'; \
	  $(PYTHON) -m venv --system-site-packages $(VENV); \
	  grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt; \
	else \
	  $(PYTHON) -m venv $(VENV); cp constraints.txt $(VENV)/constraints.txt; \
	fi
	@if [ -n "$(TORCH_INDEX_URL)" ]; then \
	  $(PIP) install -q -c $(VENV)/constraints.txt --index-url "$(TORCH_INDEX_URL)" torch; \
	fi
	$(PIP) install -q -c $(VENV)/constraints.txt build wheel setuptools
	@touch $@

# Through the sdist: a build folder in the tree would resurrect deleted configs.
$(CACHE)/.wheel: $(VENV)/.base $(SOURCES)
	@rm -rf $(CACHE)/dist && mkdir -p $(CACHE)
	$(BIN)/python -m build --no-isolation --outdir $(CACHE)/dist . > $(CACHE)/build.log \
	  || { tail -20 $(CACHE)/build.log; false; }
	@touch $@
wheel: $(CACHE)/.wheel

# The wheel, with the extras of the target; again whenever a source file changes.
define install
	$(PIP) install -q -c $(VENV)/constraints.txt "$$(ls $(CACHE)/dist/*.whl)[$(1)]"
	$(PIP) install -q --no-deps --force-reinstall $(CACHE)/dist/*.whl
	@touch $@
endef
$(VENV)/.demo: $(CACHE)/.wheel
	$(call install,lite$(,)mim)
$(VENV)/.test: $(CACHE)/.wheel
	$(call install,lite$(,)mim$(,)test)
, := ,

dev: $(VENV)/.base
	$(PIP) install -c $(VENV)/constraints.txt --no-build-isolation -e '.[lite,mim,test]'

# --- the main job --------------------------------------------------------------------

demo: $(VENV)/.demo
	@echo '== training a small FCOS on 400 synthetic images, about 5 minutes on 2 cores'
	$(BIN)/mim train paperzoo fcos_tiny_shapes.py --work-dir $(DEMO) --resume
	@echo '== testing its checkpoint on 100 other images, drawing 24 of them'
	$(BIN)/mim test paperzoo fcos_tiny_shapes.py -C "$$(cat $(DEMO)/last_checkpoint)" \
	  --work-dir $(DEMO) --show-dir $(DEMO)/pictures
	@echo '== explaining what it does on one of them'
	$(BIN)/paperzoo explain fcos_tiny_shapes "$$(cat $(DEMO)/last_checkpoint)" \
	  data/shapes/val/000004.jpg --out $(DEMO)/explain.html
	@echo
	@echo 'Look at   $(DEMO)/pictures/page.png (left: ground truth, right: prediction)'
	@echo '          $(DEMO)/explain.html (points, scores, losses; newest number last)'
	@echo 'Numbers   in the newest $(DEMO)/*/test_metrics.json'
	@echo 'Next      . $(VENV)/bin/activate'
	@echo '          mim train paperzoo fcos_tiny_shapes.py --cfg-options randomness.seed=1'
	@echo '          paperzoo print-config fcos_r50_fpn      (the full-size model)'
	@echo '          paperzoo --help'

# --- checks --------------------------------------------------------------------------

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m 'not slow'
test-all: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

format: $(VENV)/.test
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(CACHE) $(DEMO) build *.egg-info
