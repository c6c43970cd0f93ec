# `make demo` runs the main job on a fresh machine, `make test` the test suite; both set up all they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Pinned, because an unpinned one may bring several gigabytes of CUDA packages. `make TORCH=torch demo` takes the newest,
# with CUDA where that is what pip finds; a path of a wheel works, too
TORCH ?= torch==2.13.0

# they ask for an older nir, a driver of chips and torchvision, which reading and writing NIR does not need
NIR_SIMULATORS := sinabs==3.1.3 spikingjelly==2.0.0

.PHONY: demo test fuzz slow kills exhaustive netx peers benchmark torchvision pictures docs linkcheck lint environment lava simulators clean

demo: $(VENV)/package
	@$(BIN)/qac-deploy demo --create-lava-env

test: environment lava simulators
	$(BIN)/python -m pytest -n 2 --dist worksteal

slow: environment lava simulators  # the paper's networks at full width, in Lava too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

kills: environment lava simulators  # every command is ended by signals at random moments; half an hour
	$(BIN)/python tests/kills

exhaustive: environment  # thousands of random networks and modules
	$(BIN)/python -m pytest -n 2 -m exhaustive

netx: environment  # exported NetX files, read and run by lava-dl itself (6 GB of packages)
	$(BIN)/qac-deploy doctor --create-lava-dl-env
	$(BIN)/python -m pytest -m lava_dl

peers: environment .venv-peers/installed  # ZigZag and SCALE-Sim count the PE array's cycles, too
	QAC_DEPLOY_PEERS_PYTHON=$(CURDIR)/.venv-peers/bin/python $(BIN)/python -m pytest -m peers

# they need an older numpy, so they get an environment of their own
.venv-peers/installed: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['peers'])")
	touch $@

# docs/performance.md; about half an hour on 2 cores, a third of it training. Needs `apt install dataset-fashion-mnist`
benchmark: environment lava resnet-20.pt
	$(PIP) install -qq "$(TORCH)" -e ".[dev,benchmark]"
	$(BIN)/python benchmarks/performance --model resnet-20.pt

resnet-20.pt: $(VENV)/installed
	$(BIN)/qac-deploy train --data fashion-mnist --arch resnet-20 --float-epochs 1 --epochs 3 --mean-timesteps 2.9 --out $@

# docs/torchvision.md; about twenty minutes of one core
torchvision: .venv-torchvision/installed
	.venv-torchvision/bin/python benchmarks/torchvision_networks.py

# torchvision needs a torch of its own version, which may bring several gigabytes of CUDA packages
.venv-torchvision/installed: pyproject.toml
	$(PYTHON) -m venv .venv-torchvision
	.venv-torchvision/bin/python -m pip install --quiet "torch==2.14.1" "torchvision==0.29.1" -e . pytest
	touch $@

docs: environment  # docs/_build/html
	$(BIN)/python -m sphinx -q -W -n --keep-going docs docs/_build/html
	@echo "open docs/_build/html/index.html in a browser"

linkcheck: environment  # links to other sites; needs a network
	$(BIN)/python -m sphinx -q -n -b linkcheck docs docs/_build/linkcheck

# the screenshots of README and docs/; five minutes on 2 cores. Other figures: `python benchmarks/figures --help`
pictures: environment lava simulators
	$(BIN)/python benchmarks/figures pictures

lint: environment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

environment: $(VENV)/installed

$(VENV)/package: pyproject.toml
	@echo "installing qac-deploy and $(TORCH) into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -qq "$(TORCH)" -e ".[torch]"
	@touch $@

$(VENV)/installed: $(VENV)/package
	@echo "installing what tests and documentation need into $(VENV)"
	@$(PIP) install -qq "$(TORCH)" -e ".[dev]"
	@$(PIP) install -qq --no-deps $(NIR_SIMULATORS)
	@touch $@

lava: environment
	$(BIN)/qac-deploy doctor --create-lava-env

simulators:  # Verilator and Icarus for the PE array's RTL, Chromium for the report; without root, only a look
	@command -v verilator >/dev/null && command -v iverilog >/dev/null && command -v chromium >/dev/null \
	|| if [ "$$(id -u)" = 0 ]; \
	then apt-get update -qq && apt-get install -y -qq verilator iverilog chromium fonts-dejavu-core >/dev/null; \
	else echo "the tests of RTL and report need: apt install verilator iverilog chromium" >&2; exit 1; fi

# ten minutes; of what it found, `make fuzz` says how one case is run again
SECONDS ?= 600
fuzz: environment  # changed files for every reader of files: no traceback, nothing executed, nothing read wrongly
	$(BIN)/python tests/fuzz --seconds $(SECONDS)

clean:
	rm -rf docs/_build .figures .fuzz $(VENV) .venv-peers .venv-torchvision build demo model.pt resnet-20.pt
