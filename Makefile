# make demo: the demo video becomes a mesh in deliver/tractor. make test: checks everything.
# make status: how far a run is, asked from a second terminal.
# make demo-ovhai: the same through `snakemake --profile ovhai`, with a stand-in of OVHcloud's platform on this machine.

PYTHON ?= python3
VENV ?= .venv
# Three more than there are cores: many tests wait for jobs.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 3)
BIN := $(VENV)/bin
# A worker that crashes ends the run: pytest-xdist can wait for ever for the tests of a worker that it has replaced.
# Where this variable is set, as in many container images, each of some thousand processes would compile our code again.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

ON_SLURM := tests/workflow/test_slurm.py

# Of `make status` and `make adjust`: the same profile and configuration files as in the run, and what the command itself knows.
OPTIONS ?= --profile profiles/local

.PHONY: demo demo-ovhai status adjust settings viewer test test-slurm coverage chaos lint clean

demo: $(VENV)/.local
	$(BIN)/snakemake --profile profiles/local --configfile config/demo/config.yaml
	@echo "The mesh is deliver/tractor/mesh.ply; deliver/tractor/mesh.glb is the small one for web pages."
	@echo "Open deliver/tractor/scene.html in a browser to see it, and how good it is."

demo-ovhai: $(VENV)/.test
	$(BIN)/python tests/ovhai/demo.py

adjust: $(VENV)/.local # a page to set the region and the crop: make adjust SCENE=lamp OPTIONS="--profile ovhai"
	$(BIN)/python scripts/adjust.py --scene "$(SCENE)" $(OPTIONS)

status: # how far each scene is, from a second terminal; make status OPTIONS="--profile ovhai --states failed"
	@test -x $(BIN)/videomesh-status || { echo "There is no $(BIN)/videomesh-status: install the workflow first (README.md)."; exit 1; }
	@$(BIN)/videomesh-status $(OPTIONS)

settings: $(VENV)/.test # config/config.yaml and the tables of config/README.md, from config/schemas
	$(BIN)/python -m videomesh.configuration.document

viewer: # the scripts of the pages, in src/videomesh/*/assets, from viewer/src; needs Node
	cd viewer && npm ci && npm run build

test: $(VENV)/.test # and lint: tests/test_lint.py
	bash tests/install_program.sh colmap
	bash tests/install_program.sh chromium
	$(PYTEST) --ignore $(ON_SLURM)

# The workflow on a SLURM cluster of one node, which is made on this machine for the time of the tests.
test-slurm: $(VENV)/.test
	bash tests/install_program.sh slurmctld
	bash tests/install_program.sh slurmd
	$(BIN)/pytest -rs $(ON_SLURM)

coverage: $(VENV)/.test # what no test runs
	$(PYTEST) --cov --cov-report=term

chaos: $(VENV)/.test # 300 runs with random faults, outages and killed heads: most of an hour
	$(BIN)/python executor/tests/chaos.py --seeds 0-299 --jobs 6

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo/config.yaml

clean: # results stay: they are yours
	rm -rf $(VENV) build executor/build .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info executor/src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is newer than the files that say what to install.
$(VENV)/.local: pyproject.toml executor/pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[local]' --editable ./executor
	touch $@

$(VENV)/.test: pyproject.toml executor/pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --no-compile --editable '.[local,slurm,test]' --editable ./executor
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > $@.log || true # on all cores; some packages bring code of other versions
	touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
