# Everything sets itself up: the virtual environment is in .venv/, all other state in .cache/.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MINUTES ?= 55
BROKER ?= embedded
STAMP  := $(VENV)/.ready
DEMO   := $(VENV)/.demo
SERVERS := $(VENV)/.servers

.PHONY: demo test check bench soak clean fmt

$(STAMP): pyproject.toml tools/setup.sh
	@PYTHON=$(PYTHON) sh tools/setup.sh $(VENV) dev
	@touch $@ $(DEMO)

$(DEMO): pyproject.toml tools/setup.sh
	@PYTHON=$(PYTHON) sh tools/setup.sh $(VENV) demo
	@touch $@

$(SERVERS): tools/servers.sh $(STAMP)
	@sh tools/servers.sh
	@touch $@

demo: $(DEMO)  ## run the order-fulfilment shop; BROKER=redis or BROKER=rabbitmq instead of the embedded broker
	@$(BIN)/python -m examples.fulfilment.demo --broker $(BROKER)

test: check $(SERVERS)  ## everything that must hold before a change lands
	@$(BIN)/python -m pytest -q -n 4 --dist worksteal -m "not soak" || { \
	  echo "Once more, alone: what failed beside three others on a busy machine. Both outcomes count: look at the first, too."; \
	  $(BIN)/python -m pytest -q -m "not soak" --last-failed --last-failed-no-failures none; }

check: $(STAMP)  ## style, types, import contracts
	@$(BIN)/ruff check src tests examples benchmarks
	@$(BIN)/ruff format --check src tests examples benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(STAMP)
	@$(BIN)/ruff check --fix-only src tests examples benchmarks
	@$(BIN)/ruff format src tests examples benchmarks

bench: $(STAMP) $(SERVERS)  ## speed, side by side with other task queues
	@$(BIN)/python -m benchmarks

soak: $(STAMP) $(SERVERS)  ## the long fault and load runs, for MINUTES
	@$(BIN)/python -m tests.soak --minutes $(MINUTES)

clean:
	rm -rf $(VENV) .venvs .cache .mypy_cache .ruff_cache .pytest_cache
