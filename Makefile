# Everything needed to run, test and check the project from a fresh clone:
#
#   make demo    set up what is missing, then run the demonstration
#   make test    set up what is missing, then run the tests
#
# Set-up happens once. It is repeated only when this file, setup.cfg or pyproject.toml changes, or another TORCH or
# FORCE_CUDA is asked for; those two choices are remembered in the virtual environment.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
CHOICES := $(VENV)/choices.mk
-include $(CHOICES)
CHOSEN := $(foreach name,TORCH FORCE_CUDA,$(if $(filter-out undefined,$(origin $(name))),$(name)))

PYTHON ?= $(or $(shell command -v python3.11 || command -v python3),python3.11)
TORCH ?= torch==2.13.0
# 1 builds mmcv's CUDA operators even where no GPU is seen (for TORCH_CUDA_ARCH_LIST, or all usual ones). With 0 they are
# built where a GPU is and an nvcc that fits torch.
FORCE_CUDA ?= 0
MAX_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
WHEELS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/claran_plugin/wheels
DEMO_OUTPUT ?= demo_output
PYTEST_ARGS ?=

# setup.cfg is the one place that says which mmcv; here it has only to be built before the rest.
MMCV := $(shell sed -n 's/^ *\(onedl-mmcv==[0-9.]*\).*/\1/p' setup.cfg)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
READY := $(VENV)/.ready-$(shell printf '%s' '$(TORCH) $(FORCE_CUDA)' | cksum | cut -d ' ' -f 1)
SOURCES := claran_plugin hooks mmdet_configs tests benchmarks

.PHONY: help venv demo test lint format benchmark-accuracy clean clean-venv

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	    || sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' Makefile
	@echo
	@echo 'Variables: TORCH="$(TORCH)"  FORCE_CUDA=$(FORCE_CUDA)  PYTHON=$(PYTHON)  MAX_JOBS=$(MAX_JOBS)'
	@echo '           DEMO_OUTPUT=$(DEMO_OUTPUT)  PYTEST_ARGS="-k name"  WHEELS=$(WHEELS)'

venv: $(READY)  ## set up the virtual environment (.venv)

demo: $(READY)  ## simulate a field, run PyBDSF and the plugin on it; see demo_output/
	$(VENV)/bin/claran demo -o $(DEMO_OUTPUT) --overwrite

test: $(READY)  ## run the tests
	$(PY) -m pytest -ra $(PYTEST_ARGS)

lint: $(READY)  ## check style, format and types
	$(VENV)/bin/ruff check $(wildcard $(SOURCES))
	$(VENV)/bin/ruff format --check $(wildcard $(SOURCES))
	$(VENV)/bin/mypy

benchmark-accuracy: $(READY)  ## print the figures of docs/accuracy.md; DATA=folder with first/, rgz/, radiogalaxynet/
	@test -d "$(DATA)" || { echo 'give the folder of labelled images: make benchmark-accuracy DATA=FOLDER' >&2; exit 2; }
	$(PY) benchmarks/real_first.py --data $(DATA)
	$(PY) benchmarks/real_first.py --data $(DATA) --wavelets
	$(PY) benchmarks/calibrate.py --data $(DATA) --weights benchmarks/weights/compact_without_rgz.pth \
	    -o $$(mktemp) --diagram docs/reliability.png
	$(PY) benchmarks/radiogalaxynet.py --data $(DATA)/radiogalaxynet
	$(PY) benchmarks/radiogalaxynet.py --data $(DATA)/radiogalaxynet --radio
	$(PY) benchmarks/hosts.py --data $(DATA)/radiogalaxynet
	$(PY) benchmarks/simulated_fields.py --fields 3 --weights benchmarks/weights/compact_without_rgz.pth
	$(PY) benchmarks/unrelated_sources.py --fields 8
	$(PY) benchmarks/large_sources.py
	$(PY) benchmarks/large_sources.py --lotss
	$(PY) benchmarks/large_sources.py --cores
	$(PY) benchmarks/failures.py --data $(DATA) -o docs/failures.png
	$(VENV)/bin/claran dataset radiogalaxynet $(DATA)/radiogalaxynet -o data/radiogalaxynet --overwrite
	$(VENV)/bin/claran test radiogalaxynet_compact benchmarks/weights/radiogalaxynet_compact.pth --tta

format: $(READY)  ## reformat the code and apply safe fixes
	$(VENV)/bin/ruff check --fix $(wildcard $(SOURCES))
	$(VENV)/bin/ruff format $(wildcard $(SOURCES))

clean:  ## remove what tests, builds and the demo left (not .venv)
	rm -rf $(DEMO_OUTPUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

clean-venv:  ## remove the virtual environment; the built mmcv stays in the cache
	rm -rf $(VENV)

# --- set-up ----------------------------------------------------------------------------------------------------------

# mmcv's wheel depends on torch, on Python and on the machine, so its folder in the cache is named after all three.
define WHEEL_FOLDER
import platform, sys, torch
print(f'{torch.__version__}-cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}')
endef
export WHEEL_FOLDER

# A build of mmcv that did not see torch succeeds, but without the compiled operators: such a wheel is worthless.
define HAS_OPERATORS
import sys, zipfile
from fnmatch import fnmatch
try:
    names = zipfile.ZipFile(sys.argv[1]).namelist()
except (OSError, zipfile.BadZipFile):
    names = []
sys.exit(not any(fnmatch(name, 'mmcv/_ext*.so') for name in names))
endef
export HAS_OPERATORS

define CHECK_PYTHON
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
    echo 'error: Python 3.11 or newer is needed ($(PYTHON) is not). Install it (Debian: apt-get install python3.11' \
        'python3.11-venv python3.11-dev) or name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }; \
test -x $(PY) || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
    echo 'error: $(PYTHON) cannot make virtual environments. Install its venv module' \
        '(Debian: apt-get install g++ python3-dev python3-venv), then run make again.' >&2; exit 1; }
endef

define CHECK_COMPILER
python=$$(test -x $(PY) && echo $(PY) || echo $(PYTHON)); \
include=$$($$python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
compiler=$${CXX:-$$(command -v g++ || command -v c++ || true)}; \
if test -z "$$compiler" || ! $$compiler --version >/dev/null 2>&1; then \
    echo 'error: a C++ compiler is needed to build mmcv. Install one' \
        '(Debian: apt-get install g++ python3-dev python3-venv), then run make again.' >&2; exit 1; fi; \
if ! printf '#include <vector>\n#include <Python.h>\n' \
        | $$compiler -x c++ -fsyntax-only -I"$$include" - >/dev/null 2>&1; then \
    echo "error: $$compiler finds no C++ library or no Python.h in $$include, both needed to build mmcv. Install them" \
        '(Debian: apt-get install g++ python3-dev python3-venv), then run make again.' >&2; exit 1; fi
endef

# Before anything long starts. The compiler is not needed where a wheel for this Python and machine is in the cache.
define CHECK_MACHINE
$(CHECK_PYTHON); \
tag=cp$$($(PYTHON) -c 'import platform, sys; print(*sys.version_info[:2], "-", platform.machine(), sep="")'); \
compgen -G "$(WHEELS)/*-$$tag*/*mmcv-*.whl" >/dev/null || { $(CHECK_COMPILER); }
endef

# Succeeds where there is a GPU and an nvcc of the CUDA that torch is for; extensions cannot be built with another.
define FITTING_NVCC
import re, subprocess, sys, torch
try:
    told = subprocess.run([sys.argv[1], '--version'], capture_output=True, text=True).stdout
except OSError:
    sys.exit(1)
release = re.search(r'release (\d+)', told)
mine = (torch.version.cuda or '').split('.')[0]
if not release or not torch.cuda.is_available():
    sys.exit(1)
if release[1] != mine:
    sys.exit(f'nvcc is of CUDA {release[1]}, torch of CUDA {mine}: mmcv is built for CPUs')
endef
export FITTING_NVCC

# Which GPUs to build for: those that are asked for, those that are seen, or else all that are usual.
define CUDA_ARCHS
import os, torch
seen = sorted({torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())})
print(os.environ.get('TORCH_CUDA_ARCH_LIST') or ';'.join(f'{a}.{b}' for a, b in seen) or '7.5;8.0;8.6;8.9;9.0+PTX')
endef
export CUDA_ARCHS

# Installs mmcv from the cache, building it first if need be; nothing to do if this very wheel is installed already.
# $$cuda is 0: for CPUs; 1: with CUDA, as asked for; 2: with CUDA if that works.
define INSTALL_MMCV
cuda=$(FORCE_CUDA); \
if test $$cuda = 0 && $(PY) -W ignore -c "$$FITTING_NVCC" "$${CUDA_HOME:+$$CUDA_HOME/bin/}nvcc"; then cuda=2; fi; \
requirement='$(MMCV)'; \
pattern="onedl_mmcv-$${requirement##*==}-*.whl"; \
choose() { \
    archs=; test $$cuda = 0 || archs=$$($(PY) -W ignore -c "$$CUDA_ARCHS"); \
    key="$$($(PY) -W ignore -c "$$WHEEL_FOLDER")$${archs:+-cuda-$${archs//[;.+ ]/_}}"; \
    folder="$(WHEELS)/$$key"; \
    wheel=$$(compgen -G "$$folder/$$pattern" | head -n 1 || true); \
    if test -n "$$wheel" && ! $(PY) -c "$$HAS_OPERATORS" "$$wheel"; then \
        echo "$$wheel has no compiled operators: removed" >&2; rm -f "$$wheel"; wheel=; fi; }; \
build() { \
    echo "Building $(MMCV) with its operators for $$key on $(MAX_JOBS) cores: 5 to 15 minutes, once per machine"; \
    mkdir -p "$$folder" && \
    build=$$(mktemp -d "$$folder/build.XXXXXX") && trap 'rm -rf "$$build"' EXIT && \
    env MMCV_WITH_OPS=1 FORCE_CUDA=$$(test -n "$$archs" && echo 1 || echo 0) MAX_JOBS=$(MAX_JOBS) \
        $${archs:+"TORCH_CUDA_ARCH_LIST=$$archs"} $$(test -n "$$archs" || echo CUDA_VISIBLE_DEVICES=) \
        $(PIP) wheel --no-build-isolation --no-deps --no-cache-dir --wheel-dir "$$build" '$(MMCV)' && \
    built=$$(compgen -G "$$build/$$pattern" | head -n 1 || true) && \
    { $(PY) -c "$$HAS_OPERATORS" "$$built" || { \
        echo 'error: mmcv was built without its operators (mmcv/_ext*.so), so it is not kept. Read the messages' \
            'above: the usual cause is a compiler that cannot use the installed torch.' >&2; false; }; } && \
    mv "$$built" "$$folder/" && wheel="$$folder/$$(basename "$$built")"; }; \
choose; \
if test -z "$$wheel"; then \
    $(CHECK_COMPILER); \
    if ! build; then \
        test $$cuda = 2 || exit 1; \
        echo 'mmcv cannot be built for CUDA here (see above), so it is built for CPUs' >&2; \
        rm -rf "$$build"; cuda=0; choose; test -n "$$wheel" || build || exit 1; fi; fi; \
if test "$$(cat $(VENV)/.mmcv 2>/dev/null)" != "$$wheel"; then \
    echo "Installing $$wheel"; \
    $(PIP) install --quiet --no-deps --force-reinstall "$$wheel"; \
    echo "$$wheel" > $(VENV)/.mmcv; fi
endef

# mmcv asks for OpenCV with windows, whose library needs libGL, and servers have none. Nothing here opens a window, so
# there the build without windows, with the same modules, takes its place.
define FIX_OPENCV
$(PY) -c 'import cv2' >/dev/null 2>&1 || { \
    version=$$($(PY) -c 'from importlib.metadata import version; print(version("opencv-python"))'); \
    echo "OpenCV cannot be loaded: putting opencv-python-headless $$version in its place"; \
    $(PIP) install --quiet --no-deps --force-reinstall "opencv-python-headless==$$version"; }
endef

# torch first, as mmcv is compiled against it; setuptools below 81 because mmcv's build needs pkg_resources.
$(READY): setup.cfg pyproject.toml Makefile
	@$(CHECK_MACHINE)
	@rm -f $(VENV)/.ready-*
	@test -x $(PY) || { rm -rf $(VENV); echo 'Making $(VENV) with $(PYTHON)'; $(PYTHON) -m venv $(VENV); }
	$(PIP) install --quiet '$(TORCH)' 'setuptools<81' wheel ninja psutil packaging
	@$(INSTALL_MMCV)
	$(PIP) install --quiet '$(TORCH)' --editable '.[onedl,survey,fetch,test,lint]'
	@$(FIX_OPENCV)
	@$(PY) -W ignore -c 'import mmcv.ops, mmdet.models, mmdet.apis'
	@for name in $(CHOSEN); do \
	    case $$name in TORCH) echo 'TORCH ?= $(TORCH)';; FORCE_CUDA) echo 'FORCE_CUDA ?= $(FORCE_CUDA)';; esac; \
	done > $(CHOICES).new; mv $(CHOICES).new $(CHOICES)
	@touch $@
