# Two commands do all the set-up: `make demo` and `make test`. Both may be interrupted
# and repeated. Variables:
#   PYTHON           the Python to start from (3.11 to 3.13). If it has torch already, that
#                    torch is kept, whatever its version, with the sympy that it needs;
#                    otherwise the one in constraints.txt is installed.
#   TORCH_INDEX_URL  an index to take torch from, for example PyTorch's CPU index
#   VENV             where the environments go: $(VENV) and $(VENV)-wheel
#   WORKERS          how many processes run the tests
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX_URL ?=
WORKERS ?= 2
DEMO := demo

WHEEL_VENV := $(VENV)-wheel
BIN := $(abspath $(VENV))/bin
WHEEL_BIN := $(abspath $(WHEEL_VENV))/bin
CACHE := .cache
# The folders of packages that a Python searches, for a .pth file.
PACKAGES := import sys; \
	print(*(path for path in sys.path if path.endswith("-packages")), sep="\n")
PIP_INSTALL := -m pip --disable-pip-version-check install -q -c $(VENV)/constraints.txt
SOURCES := $(shell find paperzoo configs -type f -not -name '*.pyc') \
	setup.cfg pyproject.toml MANIFEST.in README.md
export OPENCV_LOG_LEVEL := ERROR

# What the makers of the theme say about its successor is no warning of ours.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help docs release demo test test-all test-wheel coverage lint format dev clean wheel
help:
	@echo 'make demo        install, train a small FCOS, test it, draw a page of pictures'
	@echo 'make test        install, then lint, types, quick tests, tests of the wheel'
	@echo 'make test-all    the same with the slow tests'
	@echo 'make test-wheel  only the tests of the wheel: packaging and mim'
	@echo 'make coverage    the quick tests, and the lines that they leave out'
	@echo 'make lint        ruff and mypy'
	@echo 'make dev         only the environment, for working on paperzoo'
	@echo 'make docs        the site, into site/; a dead link stops it'
	@echo 'make release     sdist and wheel in dist/, checked'
	@echo 'make format      let ruff format the code'
	@echo 'make clean       remove the environments, caches and the demo'

# --- two environments ----------------------------------------------------------------
# $(VENV) holds paperzoo as an editable install: what you edit is what runs. $(WHEEL_VENV)
# holds the wheel, because mim looks for the package's folder in site-packages and does not
# work on an editable install. It sees the other packages of $(VENV), so that nothing is
# installed twice; neither changes the other.

# PYTHON may be an environment itself, whose packages --system-site-packages does not see.
# What a wheel of torch calls itself and `torch.__version__` differ by a +cu126.
$(VENV)/.base: constraints.txt
	@echo "== environment in $(VENV)"
	@if $(PYTHON) -c 'import torch' 2>/dev/null; then \
	  echo 'using the installed torch'; \
	  $(PYTHON) -m venv --system-site-packages $(VENV); \
	  $(PYTHON) -c '$(PACKAGES)' > "$$(echo $(VENV)/lib/python*/site-packages)/found.pth"; \
	  grep -Ev '^(torch|sympy)==' constraints.txt > $(VENV)/constraints.txt; \
	  $(PYTHON) -c 'from importlib.metadata import version as of; \
	    print("torch==" + of("torch"))' >> $(VENV)/constraints.txt; \
	else \
	  $(PYTHON) -m venv $(VENV); cp constraints.txt $(VENV)/constraints.txt; \
	fi
	@if [ -n "$(TORCH_INDEX_URL)" ]; then \
	  $(BIN)/python $(PIP_INSTALL) --index-url "$(TORCH_INDEX_URL)" torch; \
	fi
	$(BIN)/python $(PIP_INSTALL) build wheel setuptools
	@touch $@

$(VENV)/.dev: $(VENV)/.base setup.cfg
	$(BIN)/python $(PIP_INSTALL) --no-build-isolation -e '.[lite,mim,export,web,test,docs,release]'
	@touch $@
dev: $(VENV)/.dev

# Through the sdist: a build folder in the tree would resurrect deleted configs.
$(CACHE)/.wheel: $(VENV)/.base $(SOURCES)
	@rm -rf $(CACHE)/dist && mkdir -p $(CACHE)
	$(BIN)/python -m build --no-isolation --outdir $(CACHE)/dist . > $(CACHE)/build.log \
	  || { tail -20 $(CACHE)/build.log; false; }
	@touch $@
wheel: $(CACHE)/.wheel

# A folder named in a .pth file is searched after the environment's own, and the .pth files
# inside it, the one of the editable install among them, are not read.
$(WHEEL_VENV)/.base: $(VENV)/.dev
	$(BIN)/python -m venv $(WHEEL_VENV)
	@# Python 3.11 gives an environment a setuptools, and too old a one.
	@$(WHEEL_BIN)/python -m pip -q uninstall -y setuptools
	@$(BIN)/python -c '$(PACKAGES)' \
	  > "$$(echo $(WHEEL_VENV)/lib/python*/site-packages)/packages.pth"
	$(WHEEL_BIN)/python $(PIP_INSTALL) --no-deps --ignore-installed openmim
	@touch $@

$(WHEEL_VENV)/.wheel: $(WHEEL_VENV)/.base $(CACHE)/.wheel
	$(WHEEL_BIN)/python $(PIP_INSTALL) --no-deps --force-reinstall $(CACHE)/dist/*.whl
	@touch $@

# --- the main job --------------------------------------------------------------------

demo: $(WHEEL_VENV)/.wheel
	@echo '== training a small FCOS on 400 synthetic images, some minutes on 2 cores'
	$(WHEEL_BIN)/mim train paperzoo fcos_tiny_shapes.py --work-dir $(DEMO) --resume
	@echo '== testing its checkpoint on 100 other images, drawing 24 of them'
	$(WHEEL_BIN)/mim test paperzoo fcos_tiny_shapes.py -C "$$(cat $(DEMO)/last_checkpoint)" \
	  --work-dir $(DEMO) --show-dir $(DEMO)/pictures
	@echo '== explaining what it does on one of them'
	$(WHEEL_BIN)/paperzoo explain fcos_tiny_shapes "$$(cat $(DEMO)/last_checkpoint)" \
	  data/shapes/val/000004.jpg --out $(DEMO)/explain.html
	@echo
	@echo 'Look at   $(DEMO)/pictures/page.png (left: ground truth, right: prediction)'
	@echo '          $(DEMO)/explain.html (points, scores, losses; newest number last)'
	@echo 'Numbers   in the newest $(DEMO)/*/test_metrics.json'
	@echo 'Next      . $(WHEEL_VENV)/bin/activate'
	@echo '          mim train paperzoo fcos_tiny_shapes.py --cfg-options randomness.seed=1'
	@echo '          paperzoo print-config fcos_r50_fpn      (the full-size model)'
	@echo '          paperzoo --help'

# --- checks --------------------------------------------------------------------------

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

PYTEST := -m pytest -n $(WORKERS) --dist loadfile
test test-all coverage test-wheel: export OMP_NUM_THREADS := 1

test: lint
	$(BIN)/python $(PYTEST) -m 'not wheel and not slow'
	@$(MAKE) --no-print-directory test-wheel
test-all: lint
	$(BIN)/python $(PYTEST) -m 'not wheel'
	@$(MAKE) --no-print-directory test-wheel SLOW='or slow'
coverage: $(VENV)/.dev
	$(BIN)/python $(PYTEST) -m 'not wheel and not slow' --cov --cov-report=term:skip-covered

# -P and the path: the installed wheel is imported, not the checkout.
test-wheel: $(WHEEL_VENV)/.wheel
	$(WHEEL_BIN)/python -P $(PYTEST) -m 'wheel and (not slow $(SLOW))' -o pythonpath=tests \
	  $$(grep -rl --include='*.py' 'pytest.mark.wheel' tests)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict -d site

# Through the sdist, as `make wheel`; docs/release.md says what a release needs besides.
release: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/release.py dist

clean:
	rm -rf $(VENV) $(WHEEL_VENV) $(CACHE) $(DEMO) build dist site *.egg-info
