# A thin front for CMake. The commands:
#   make                  build the release (all flavours) in build/
#   make run [CMD="..."]  run a program on hakmem and on the system's allocator, and compare
#   make test             the short tests: release, sanitizers, clang
#   make test-long [PART=PRESET-FOLDER]   the long tests, restartable; docs/results/ has the results
#   make check            style, layers, generated files, clang-format, clang-tidy, cppcheck
#   make format           let clang-format change the files
#   make bench            benchmark against four peers, some 7 minutes (all: bench/run.py)
#   make scorecard        from docs/results/: docs/PERFORMANCE_TARGETS_SCORECARD.md (targets beside
#                         figures) and docs/profiles.svg (profiles and peers in one picture)
#   make install [PREFIX=/usr/local] [DESTDIR=]
#   make clean
BUILD := build
PREFIX ?= /usr/local
CHECKS := check-style check-layers check-options check-format check-tidy check-cppcheck \
  check-scorecard check-profiles
PY := /usr/bin/python3
PROFILES := $(PY) bench/plot.py profiles docs/results/memory.json --out docs/profiles.svg

.PHONY: all run test test-long check format bench scorecard install clean print-checks \
  build-release $(CHECKS)

all:
	@scripts/deps.sh --check build
	@$(MAKE) --no-print-directory build-release

build-release:
	@[ -f $(BUILD)/build.ninja ] || cmake -S . -B $(BUILD) -G Ninja
	@cmake --build $(BUILD)

run: export HAK_CMD = $(value CMD)
run:
	@scripts/deps.sh build
	@$(MAKE) --no-print-directory build-release
	@$(PY) scripts/run_compare.py --build $(BUILD)

test:
	@scripts/deps.sh build test
	@$(PY) scripts/run_tests.py short

test-long:
	@scripts/deps.sh build test long
	@$(PY) scripts/run_tests.py long $(if $(PART),--part $(PART))

check:
	@scripts/deps.sh build test
	@$(MAKE) --no-print-directory -k $(CHECKS)

print-checks:
	@echo $(CHECKS)

check-style:
	@$(PY) scripts/check_style.py

check-layers: build-release
	@$(PY) scripts/check_layers.py $(BUILD)

check-options:
	@$(PY) scripts/gen_options.py --check

check-format:
	@scripts/lint.sh format

check-tidy:
	@scripts/lint.sh tidy

check-cppcheck:
	@scripts/lint.sh cppcheck

check-scorecard:
	@$(PY) scripts/scorecard.py --check

check-profiles:
	@$(PROFILES) --check

format:
	@scripts/lint.sh reformat

bench:
	@scripts/deps.sh build bench
	@$(MAKE) --no-print-directory build-release
	@$(PY) bench/run.py --quick

scorecard:
	@$(PY) scripts/scorecard.py
	@$(PROFILES)

install: all
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD) --prefix "$(PREFIX)"

clean:
	rm -rf build build-debug build-tsan build-asan build-clang build-aarch64
