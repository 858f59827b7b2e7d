# Everything starts here: `make demo` and `make test` set up a fresh machine by themselves.
VENV   := .venv
PY     := $(VENV)/bin/python
PYTHON ?= python3
READY  := $(VENV)/.ready
# processes of tests; each computes with one thread
WORKERS ?= 2
PARTS  := lab,docs,dev

.PHONY: demo fuzz test lab docs readme bench gpu install browser check-export lesson-test unit-test long-test most-test kernel-test device-test alone-test soak clean
.DEFAULT_GOAL := help

help:  ## what there is to make
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

install: $(READY)  ## the virtual environment .venv, made once and again when the requirements change

$(READY): settings.ini setup.py
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -e '.[$(PARTS)]'
	@touch $@

demo: $(READY)  ## search, prune, train and score on the built-in images: runs/demo/report.html
	$(VENV)/bin/degas demo --out runs/demo

# no news, no update checks, no list of extensions: JupyterLab asks nobody outside (the same flags as in tests/lab.py)
QUIET := --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly

lab: $(READY)  ## JupyterLab on the notebooks; it asks nothing from outside
	$(VENV)/bin/jupyter lab nbs $(QUIET)

docs: $(READY) node_modules/katex  ## the documentation site in _docs/
	$(PY) tools/docs.py

bench: $(READY)  ## side-by-side ratios and what a search costs, on this machine: benchmarks/*.json (20 minutes; let nothing else run)
	$(PY) benchmarks/bench.py
	$(PY) benchmarks/costs.py

gpu: $(READY)  ## what a GPU computes, costs and would take for the paper, in ten minutes: benchmarks/gpu.json
	$(PY) benchmarks/gpu.py

readme: $(READY)  ## README.md from nbs/index.ipynb
	$(PY) tools/readme.py

node_modules/katex:
	npm install --no-save --no-audit --no-fund --silent katex

browser:  ## a Chromium for the browser tests (Debian, Ubuntu; needs root)
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

test: $(READY) node_modules/katex  ## what CI checks, but for the tests that are marked long (12 minutes)
	$(MAKE) check-export unit-test

long-test: $(READY) node_modules/katex  ## the others, some seconds each: CI makes them after `make test`
	$(MAKE) unit-test SPEED=long

check-export: $(READY)  ## exported modules, clean notebooks and README are those in git
	$(PY) tools/check_export.py

lesson-test: $(READY)  ## every lesson cell that is not marked slow, without a kernel: for the working loop
	OMP_NUM_THREADS=1 $(VENV)/bin/nbdev_test --n_workers 2 --timing --do_print

# hundreds of processes import the same modules: they find them compiled; and memory that a process has freed it keeps for its next step
CHEAP := PYTHONDONTWRITEBYTECODE= MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296

# tests write thousands of small files, synced and removed: milliseconds each on a disk, so they lie in memory where it has room (in KiB)
SCRATCH = $(shell [ -w /dev/shm ] && [ "$$(df -Pk /dev/shm | awk 'END {print $$4}')" -gt 4000000 ] && echo /dev/shm || echo $${TMPDIR:-/tmp})

unit-test: $(READY)  ## every notebook in a kernel (tests/test_lessons.py), widgets in a browser, and what only CI gains from
	@export TMPDIR=$$(mktemp -d -p $(SCRATCH)) $(CHEAP); export TESTS_CACHE=$$TMPDIR/cache; trap 'rm -rf "$$TMPDIR"' EXIT; $(MAKE) most-test && $(MAKE) -j3 -Otarget alone-test kernel-test device-test

fuzz: $(READY)  ## 10,000 damaged files through everything that reads one (10 minutes; tests/test_inputs.py tries 250)
	OMP_NUM_THREADS=1 $(PY) tools/fuzz.py 2>/dev/null

most-test:
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests --ignore tests/test_lessons.py -m '$(SPEED) and not device and not alone' --durations=25 $(TESTED)

# which tests: all that are not marked long, or these; some kinds have none of them, which pytest ends with 5
SPEED := not long
TESTED = $(if $(filter not,$(SPEED)),,|| [ $$? -eq 5 ])

# tests that watch a browser or a clock take what they need of the machine; lessons, two at a time, and the simulated device share the rest
kernel-test:
	OMP_NUM_THREADS=1 nice -n 19 $(PY) -m pytest -q tests/test_lessons.py -m '$(SPEED)' --durations=15 $(TESTED)

device-test:
	OMP_NUM_THREADS=1 nice -n 19 $(PY) -m pytest -q tests -m 'device and $(SPEED)' --durations=5 $(TESTED)

alone-test:
	OMP_NUM_THREADS=1 $(PY) -m pytest -q tests -m 'alone and $(SPEED)' --durations=10 $(TESTED)

soak: $(READY)  ## 40 runs killed at random moments, half of them inside a write, and gone on with: to the same bits? (goes on where it was stopped)
	OMP_NUM_THREADS=1 $(PY) tests/soak.py --out runs/soak

clean:  ## remove what can be made again (not the runs)
	rm -rf $(VENV) node_modules _docs _proc build dist *.egg-info
