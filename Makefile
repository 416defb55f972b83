# The commands of every day; CONTRIBUTING.md says when to use which.
FILES ?= tests

.PHONY: test test-here lint slow gate
test:
	python -m pytest -n 2
test-here:
	python -m pytest $(FILES)
lint:
	ruff check . && ruff format --check . && mypy
slow:
	python -m pytest -n 2 -m "slow and not long"
gate:
	bash .ci/run
