.PHONY: help
help:
	@echo "make demo   set up, start a real NATS fleet, rotate its CA under traffic, report"
	@echo "make test   set up, lint, type-check, check the layers, run all tests"
