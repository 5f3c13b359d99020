# Every target makes .venv when it is missing. Without make: the same lines are in README.md.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= demo

.PHONY: demo test lab proof clean

demo: .venv/ready            ## the whole sequence on synthetic CTs; says where the report is
	$(BIN)/python -m helpers.run --run demo

test: .venv/ready-for-tests  ## everything that can be checked in minutes
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests

lab: .venv/ready             ## JupyterLab on copies of the notebooks, of the run RUN=mine
	$(BIN)/python -m helpers.lab --run $(RUN)

proof: .venv/ready-for-tests ## kills trainings a hundred times, feeds bad input, changes 10,000 headers; writes reports/proof.md; resumes where it stopped
	$(BIN)/python tests/proof/kills.py
	$(BIN)/python tests/proof/troubles.py
	$(BIN)/python tests/proof/processes.py
	$(BIN)/python tests/proof/clusters.py
	$(BIN)/python tests/proof/inputs.py
	$(BIN)/python tests/proof/fuzzing.py
	$(BIN)/python tests/proof/reading.py
	$(BIN)/python tests/proof/viewing.py

clean:                       ## removes .venv and what the demo and the proof wrote; your runs and lab/ stay
	rm -rf .venv data/phantoms data/proof
	rm -rf $(foreach folder,data_lists checkpoints reports data/stores,$(folder)/demo $(folder)/demo.*px)

.venv/ready: requirements.txt helpers/pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.12 demo')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

.venv/ready-for-tests: .venv/ready tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@
