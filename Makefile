# The front door. Each target is a script in scripts/; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup build run test bench bench-growth soak up psql status down clean

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing to build and run: PostgreSQL, its headers, libclang, cargo-pgrx
	@scripts/setup.sh

build: setup ## Build the worker and the extension, install the extension into the server
	@scripts/build.sh all

run: build ## The main job on real input: pgbench's row changes, each delivered, verified and counted
	@scripts/run.sh

test: ## Everything that CI runs: formatting, lints, unit, property, regress and end-to-end tests
	@scripts/setup.sh test
	@scripts/test.sh

bench: setup ## Speed beside what a team would pick instead, as ratios of one run; NAME=drain for one (bench/README.md)
	@bench/run.sh run $(NAME)

bench-growth: setup ## How speed and costs grow with backlog, endpoints, bodies, workers, history; with pictures
	@bench/run.sh growth

soak: setup ## Half an hour under load with failing endpoints: memory and queue stay flat, nothing is lost
	@bench/run.sh soak

up: build ## Start a development cluster and worker that stay; `. .local/env` leads clients there
	@scripts/dev.sh up

psql: ## A psql in the development cluster
	@scripts/dev.sh psql

status: ## What of the development cluster runs, and what is still owed
	@scripts/dev.sh status

down: ## Stop the development cluster and its worker; data stays
	@scripts/dev.sh down

clean: ## Stop them and remove the data and .local/ (but for its tools); target/ stays
	@scripts/dev.sh clean
