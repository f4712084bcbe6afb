# `make help` lists the targets and the variables.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo demo-full test install format check bench parity clean help

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
SPCONV ?= spconv==2.3.8
EXTRAS ?= test,dev
PIP_VERSION := 25.3
DEMO_DIR := work_dirs/demo
FULL_REPORT := work_dirs/demo_full_report
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
CODE := kd3d tools tests configs docker
# A stamp is written once its step is whole. They live in $(VENV) and vanish with it.
STAMPS := $(VENV)/stamps

demo: install
	$(BIN)/python tools/run_recipe.py configs/recipes/demo.py --work-dir $(DEMO_DIR) --jobs 2
	@echo "report: $(CURDIR)/$(DEMO_DIR)/report/index.html"

demo-full: install
	$(BIN)/python tools/run_recipe.py configs/recipes/synthetic_near.py --jobs 2
	$(BIN)/python tools/run_recipe.py configs/recipes/synthetic_near_few_labels.py --jobs 2
	$(BIN)/python tools/run_recipe.py configs/recipes/synthetic_near_fleet.py --jobs 2
	$(BIN)/python tools/report.py work_dirs/synthetic_near work_dirs/synthetic_near_few_labels \
		work_dirs/synthetic_near_fleet --out $(FULL_REPORT)
	@echo "report: $(CURDIR)/$(FULL_REPORT)/index.html"

test: install
	@$(BIN)/python tools/install/install_vehicle_python.py
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)
	$(BIN)/python -m pytest --doctest-modules kd3d --durations=0

check: install
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: install
	$(BIN)/python tools/benchmark_training.py --force
	$(BIN)/python tools/benchmark_nuscenes.py --force

parity: install
	@$(BIN)/python tests/family_parity.py

install: $(STAMPS)/mmcv $(STAMPS)/kd3d

# Each step may be repeated: what is already there is left alone. The first one starts anew (--clear)
# because a pip that was interrupted while it replaced itself is broken. --group needs pip 25.1;
# setuptools comes before torch, which would choose one too new for mmcv.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 12) or sys.exit("error: $(PYTHON) is Python %d.%d; kd3d needs 3.10 to 3.12: make PYTHON=python3.11 ..." % v)'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@echo "== creating $(VENV)"
	@$(PYTHON) -m venv --clear $(if $(filter system,$(TORCH)),--system-site-packages) $(VENV)
	@$(PIP) pip==$(PIP_VERSION)
	@$(PIP) --group build
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: | $(STAMPS)/venv
	@echo "== installing torch: $(TORCH)"
	@$(if $(filter system,$(TORCH)),$(BIN)/python -c 'import torch; print(torch.__version__)',$(subst --quiet,,$(PIP)) '$(TORCH)' $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)'))
	@touch $@

$(STAMPS)/kd3d: pyproject.toml | $(STAMPS)/torch
	@echo "== installing kd3d and what it needs (1 to 5 minutes, silent)"
	@$(PIP) --group build
	@$(PIP) --no-build-isolation --editable '.[$(EXTRAS)]'
	@$(PIP) '$(SPCONV)'
	@$(PIP) --no-deps --group mm
	@touch $@

$(STAMPS)/mmcv: pyproject.toml $(STAMPS)/kd3d
	@echo "== installing mmcv (compiled once: 5 to 20 minutes)"
	@$(BIN)/python tools/install/install_mmcv.py
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO_DIR) kd3d.egg-info .pytest_cache .mypy_cache .ruff_cache
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

help:
	@echo "make demo      set up, run the demo recipe (10 minutes on two slow cores), write $(DEMO_DIR)/report/index.html"
	@echo "make demo-full the same at length: few labels, all labels, a fleet's frames; 5 seeds, an ablation (about 2 hours)"
	@echo "make test      set up, run the tests and the examples in docstrings (12 minutes likewise)"
	@echo "make install   set up only: $(VENV), torch, mmcv (compiled once, 5 to 20 minutes), kd3d"
	@echo "make check     ruff and mypy, as CI runs them"
	@echo "make format    let ruff mend what it can"
	@echo "make bench     measure a distilled step and the nuScenes evaluator"
	@echo "make parity    a table: every family in fp32, fp16 and int8 against PyTorch (2 minutes)"
	@echo "make clean     remove $(VENV), caches and $(DEMO_DIR); other work_dirs and data stay"
	@echo
	@echo "Variables (make install TORCH=...), read while $(VENV) is made; to change one, make clean first:"
	@echo "  TORCH        what pip installs as torch [torch==2.13.0]; 'system': the machine's own torch,"
	@echo "               seen through --system-site-packages (NVIDIA containers, Jetson)"
	@echo "  TORCH_INDEX  index for torch alone, e.g. https://download.pytorch.org/whl/cpu (small, no GPU)"
	@echo "               or https://download.pytorch.org/whl/cu128"
	@echo "  SPCONV       sparse convolutions of voxel detectors [spconv==2.3.8: on a CPU, forward only, enough"
	@echo "               for a teacher]; on a GPU the build for its CUDA, e.g. spconv-cu126==2.3.8"
	@echo "  PYTHON       interpreter, 3.10 to 3.12 [python3]"
	@echo "  EXTRAS       extras of pyproject.toml [test,dev]; add bccd for the BCCD recipe"
	@echo "  MAX_JOBS     files of mmcv compiled at once [cores, at most one for each 2 GB of memory]"
	@echo "make test: PYTEST_ARGS='tests/losses -x'"
