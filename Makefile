# make demo | test | test-all | lint. Each builds .venv from requirements.txt first,
# and rebuilds it when that file changes. To use an interpreter of your own instead:
#     make test PYTHON=/path/to/python
PYTHON = .venv/bin/python
# A process a core, each with whole files, whose tests share trainings.
PARALLEL = -n auto --dist loadfile
SYSTEM_PYTHON ?= python3
STAMP := .venv/requirements.stamp

# With PYTHON given on the command line there is no environment to build.
ifeq ($(PYTHON),.venv/bin/python)
ENVIRONMENT := $(STAMP)
endif

.PHONY: venv demo test test-slow test-all lint

venv: $(STAMP)

# Made afresh, so that a package which left requirements.txt leaves .venv too.
$(STAMP): requirements.txt
	$(SYSTEM_PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt
	touch $@

demo: $(ENVIRONMENT)
	$(PYTHON) trainers/train.py --flagfile=digits.flags
	$(PYTHON) trainers/evaluate.py
	$(PYTHON) export/saved_model.py --steps=2
	$(PYTHON) export/tflite.py --steps=2
	$(PYTHON) export/onnx_graph.py --steps=2

test: $(ENVIRONMENT)
	$(PYTHON) -m pytest -m "not slow" $(PARALLEL)

test-slow: $(ENVIRONMENT)
	$(PYTHON) -m pytest -m slow

test-all: test test-slow

lint: $(ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
