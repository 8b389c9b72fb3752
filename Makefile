# On Windows use the pip lines of the README; this file only saves typing.
VENV ?= .venv
PYTHON ?= python3
RUN = $(VENV)/bin/python
PLAIN = $(VENV)/.plain
STAMP = $(VENV)/.installed
SAMPLE = examples/okex2301_12s.fasta.gz
LABELS = examples/okex2301_12s_taxonomy.tsv
SAMPLES = examples/okex2301_samples.tsv
FISHES = examples/fish_12s.tsv.gz
UNKNOWN = examples/unknown_12s.fasta

.PHONY: demo check test test-slow lint docs screenshots bench bench-nt bench-dashboard accuracy clean

$(PLAIN): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -c constraints.txt -e .
	touch $@

$(STAMP): $(PLAIN)
	$(RUN) -m pip install -q -c constraints.txt -e ".[all,test,lint]"
	touch $@

demo: $(PLAIN)
	$(VENV)/bin/ednabed --workspace demo embed $(SAMPLE) --labels $(LABELS) --samples $(SAMPLES) --dataset okex2301
	$(VENV)/bin/ednabed --workspace demo consolidate --incremental --no-calibrate
	$(VENV)/bin/ednabed --workspace demo search --run okex2301 --id 943cc4890e64.D02-03 --top-k 8
	$(VENV)/bin/ednabed --workspace demo embed $(FISHES) --output labelled/fish_12s
	$(VENV)/bin/ednabed --workspace demo consolidate --incremental --runs-root labelled --output data/fish
	$(VENV)/bin/ednabed --workspace demo classify $(UNKNOWN) --reference data/fish
	@echo
	@echo "Next, with a FASTA file of your own:"
	@echo "  $(VENV)/bin/ednabed --workspace demo classify YOUR.fasta --reference data/fish    what is it?"
	@echo "  $(VENV)/bin/ednabed --workspace demo embed YOUR.fasta --dataset yours             into the workspace 'demo'"
	@echo "or on a page: $(VENV)/bin/pip install -c constraints.txt -e '.[dashboard]', then $(VENV)/bin/ednabed dashboard --workspace demo"
	@echo "The whole way with real samples: docs/walk.md"

test: $(STAMP)
	$(RUN) -m pytest -m "not slow" -n 2 --dist loadfile

# The tests of what changed since SINCE (a commit); by default of what is not committed, or of the last commit.
check: lint
	$(RUN) -m pytest -m "not slow" -n 2 --dist loadfile $$($(RUN) tests/changed.py $(SINCE))

test-slow: $(STAMP)
	$(RUN) -m pytest -m slow

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(STAMP)
	$(RUN) -m ednabed.cli.docs > docs/commands.md

screenshots: $(STAMP)
	$(RUN) docs/screenshots.py

bench: $(STAMP)
	$(RUN) benchmarks/bench_help.py
	$(RUN) benchmarks/bench_read.py
	$(RUN) benchmarks/bench_counts.py
	$(RUN) benchmarks/bench_kmer.py
	$(RUN) benchmarks/bench_barcode.py
	$(RUN) benchmarks/bench_tokenizer.py
	$(RUN) benchmarks/bench_table.py
	$(RUN) benchmarks/bench_reference.py
	$(RUN) benchmarks/bench_classify.py

bench-dashboard: $(STAMP)
	$(RUN) benchmarks/bench_dashboard.py

accuracy: $(STAMP)
	$(RUN) benchmarks/accuracy.py

bench-nt: $(STAMP)
	$(RUN) benchmarks/bench_nt.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
