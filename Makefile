PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
# Threads that wait must not spin: several processes share the cores.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint bench scanners fuzz lowest testbed clean setup

# The main job on a backdoored model: check, scan, clean, verify, report.
demo: $(VENV)/.ready
	$(BIN)/nightlatch demo

test: $(VENV)/.ready
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0

lint: $(VENV)/.ready
	$(BIN)/ruff check src tests && $(BIN)/ruff format --check src tests && $(BIN)/mypy

# The experiment behind docs/figures: hours; run again to resume.
bench: $(VENV)/.ready
	$(BIN)/nightlatch bench --run runs/bench --models runs/bench-models

# Four file scanners on the same bad inputs and on the honest files; the other three get an environment of their own.
scanners: $(VENV)/.ready
	$(PYTHON) -m venv runs/scanners
	runs/scanners/bin/pip install --quiet picklescan==1.0.5 modelscan==0.8.8 modelaudit==0.2.54
	PYTHONPATH=tests/intake $(BIN)/python tests/hostile/compare_scanners.py --scanners runs/scanners/bin
	PYTHONPATH=tests/intake:tests/hostile:tests/honest $(BIN)/python tests/honest/false_alarms.py --scanners runs/scanners/bin

# The tests that touch strangers' files, with the oldest libraries that pyproject.toml allows; make test runs them with the newest.
lowest:
	$(PYTHON) -m venv runs/lowest
	runs/lowest/bin/pip install --quiet torch==2.13.0
	runs/lowest/bin/pip install --quiet --constraint lowest.txt --editable '.[features,dev]'
	runs/lowest/bin/pytest tests/intake tests/hostile tests/honest tests/equivalence tests/text2image/test_lora.py tests/text2image/test_single_file.py

# Ten minutes of coverage-guided fuzzing of everything that reads strangers' headers and JSON.
fuzz:
	$(PYTHON) -m venv runs/fuzzer
	runs/fuzzer/bin/pip install --quiet atheris==3.0.0 safetensors numpy scipy pydantic
	PYTHONPATH=src runs/fuzzer/bin/python tests/hostile/fuzz.py --seconds 600

# The small model from its recipe, an hour or two; run again to resume.
testbed: $(VENV)/.ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[features,dev,recipe]'
	$(BIN)/nightlatch testbed train --out runs/testbed

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[features,dev]'
	touch $@

clean:
	rm -rf runs build
