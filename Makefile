# make demo | test | test-all | lint | torch | runtimes | benchmark. Each builds .venv
# from requirements.txt first, and rebuilds it when that file changes; tests add
# requirements-test.txt. To use an interpreter of your own instead:
#     make test PYTHON=/path/to/python
PYTHON = .venv/bin/python
# A process a core, each with whole files, whose tests share trainings.
PARALLEL = -n auto --dist loadfile
SYSTEM_PYTHON ?= python3
STAMP := .venv/requirements.stamp
TEST_STAMP := .venv/requirements-test.stamp

# With PYTHON given on the command line there is no environment to build.
ifeq ($(PYTHON),.venv/bin/python)
ENVIRONMENT := $(STAMP)
TEST_ENVIRONMENT := $(TEST_STAMP)
endif

.PHONY: venv demo test test-slow test-all lint torch runtimes benchmark

venv: $(STAMP)

# Made afresh, so that a package which left requirements.txt leaves .venv too.
$(STAMP): requirements.txt
	$(SYSTEM_PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt
	touch $@

# Both files, so that neither moves what the other asks for.
$(TEST_STAMP): $(STAMP) requirements-test.txt
	.venv/bin/python -m pip install --quiet -r requirements.txt -r requirements-test.txt
	touch $@

demo: $(ENVIRONMENT)
	$(PYTHON) trainers/train.py --flagfile=digits.flags
	$(PYTHON) trainers/evaluate.py
	$(PYTHON) export/saved_model.py --steps=2
	$(PYTHON) export/tflite.py --steps=2
	$(PYTHON) export/onnx_graph.py --steps=2

test: $(TEST_ENVIRONMENT)
	$(PYTHON) -m pytest -m "not slow" $(PARALLEL)

test-slow: $(TEST_ENVIRONMENT)
	$(PYTHON) -m pytest -m slow $(PARALLEL)

test-all: test test-slow

lint: $(ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

# The library on PyTorch, in an environment without TensorFlow. `make test-slow` does
# so too once that is there.
TORCH_STAMP := build/torch/requirements.stamp
$(TORCH_STAMP): requirements-torch.txt
	$(SYSTEM_PYTHON) -m venv --clear build/torch
	build/torch/bin/python -m pip install --quiet --retries 1 -r requirements-torch.txt
	touch $@

torch: $(TEST_ENVIRONMENT) $(TORCH_STAMP)
	$(PYTHON) -m pytest tests/test_backends.py -k torch

# Exports in runtimes of other versions and makers, each in an environment of its own
# below build/runtimes; needs a package index, npm and Debian's chromium.
runtimes: $(TEST_ENVIRONMENT)
	$(PYTHON) tests/runtimes.py

# Training speeds over the last recorded ones of the same kind of machine; judges
# nothing. BENCHMARK=--record keeps them, BENCHMARK=--only= compares all peers too.
benchmark: $(ENVIRONMENT)
	$(PYTHON) trainers/benchmark.py --peers --only=cnet_tf $(BENCHMARK)
