# Weir: services and tests are found by wildcard; a new directory under services/ is the whole act.
# Variants build side by side: `make VARIANT=asan` puts everything under build/asan/.

VERSION := 0.1.0
PREFIX ?= /usr/local
VARIANT ?= release
CC := gcc
OPT := -O2 -g
SANITIZE :=
ifeq ($(VARIANT),asan)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT := -O1 -g
else ifeq ($(VARIANT),tsan)
SANITIZE := -fsanitize=thread -fno-omit-frame-pointer
OPT := -O1 -g
else ifeq ($(VARIANT),clang)
CC := clang
else ifeq ($(VARIANT),fuzz)
CC := clang
SANITIZE := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
OPT := -O1 -g
endif

# Everything of a variant lives in one place; release has the short path that the docs name.
B := build$(if $(filter-out release,$(VARIANT)),/$(VARIANT))

PKGS := rdkafka jansson libpq libmicrohttpd libcrypto yaml-0.1
CFLAGS := -std=c11 -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Wall -Wextra -Wshadow -Werror $(OPT) $(SANITIZE) \
          -fno-strict-aliasing -fstack-protector-strong -MMD -MP -pthread
# Include paths hold the layers: a file sees its own layer and those below.
INC_common := -Icommon/include -Icommon
INC_proto := -Icommon/include -Iproto
INC_service = -Icommon/include -Iproto
INC_cli := -Icommon/include -Iproto -Icli
INC_tests := -Icommon/include -Icommon -Iproto -Itests
CPPFLAGS_LIBS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -lpthread
LDFLAGS := $(SANITIZE) -pthread -Wl,--as-needed

SERVICES := $(notdir $(patsubst %/,%,$(dir $(wildcard services/*/service.c))))
TEST_SERVICES := $(patsubst tests/services/%.c,%,$(wildcard tests/services/*.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
CONTRACT_TESTS := $(patsubst tests/contract/%.c,%,$(wildcard tests/contract/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

COMMON_SRC := $(filter-out common/runtime/main.c,$(wildcard common/*/*.c))
PROTO_SRC := $(wildcard proto/*.c proto/*/*.c)
CLI_SRC := $(wildcard cli/*.c)
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIBWEIR := $(B)/lib/libweir.a
LIBPROTO := $(B)/lib/libproto.a
MAIN := $(call obj,common/runtime/main.c)
BINS := $(SERVICES:%=$(B)/bin/%) $(if $(CLI_SRC),$(B)/bin/weir)
TEST_BINS := $(TEST_SERVICES:%=$(B)/test/%) $(UNIT_TESTS:%=$(B)/test/%) $(CONTRACT_TESTS:%=$(B)/test/%)

# One short line a step; V=1 shows the commands.
say = $(if $(V),,@echo '  $(1) $(2)';)

.DELETE_ON_ERROR:
.SECONDARY:
TESTS := tests/run
C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')
SANITIZER_ENV := ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1 \
    TSAN_OPTIONS=exitcode=99:suppressions=$(CURDIR)/tests/tsan.supp LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp

.PHONY: all help test-bins fuzzers deps demo check unit contract integration scenario bench asan tsan fuzz lint format contracts layers install clean

all: $(BINS) ## build every binary to build/bin/

help: ## this list
	@grep -hE '^[a-z -]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 40
	@echo; echo 'VARIANT=asan|tsan|clang|fuzz builds beside the release, V=1 shows commands'

deps: ## install what building, running and testing need (apt, and pip into .venv/)
	@deploy/local/deps

demo: ## Kafka, PostgreSQL and shelf-help-writer on this machine; two events and their rows
	@deploy/local/demo

check: ## install, build, start what is needed, run every test, stop it again
	@deploy/local/deps
	@$(MAKE) --no-print-directory -j2 test-bins
	@$(TESTS) unit contract integration scenario

unit contract integration scenario: test-bins ## (each) one group of the tests
	@$(TESTS) $@

bench: ## our writer against a plain Python one, in one run
	@deploy/local/deps
	@$(MAKE) --no-print-directory -j2 all
	@.venv/bin/python tests/bench/shelf-help/bench.py

asan tsan: ## unit, contract and integration tests under ASan and UBSan; under TSan
	@$(MAKE) --no-print-directory -j2 VARIANT=$@ test-bins
	@$(SANITIZER_ENV) WEIR_BUILD=build/$@ $(TESTS) unit contract integration

fuzz: ## every fuzz target over its corpus, then FUZZ_S seconds (default 20) of new inputs
	@$(MAKE) --no-print-directory -j2 VARIANT=fuzz fuzzers
	@tests/fuzz/run $(FUZZ_S)

lint: ## clang-tidy, shellcheck, and is everything formatted?
	@tests/lint

format: ## clang-format, in place
	@.venv/bin/clang-format -i $(C_FILES)

contracts: all ## do asyncapi.yaml, schemas, field tables, samples and --describe agree?
	@$(TESTS) contract

layers: ## do includes keep to services -> proto -> common -> libraries?
	@tests/layers

install: all ## to DESTDIR/PREFIX (default /usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/weir
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin/
	cp -R proto/asyncapi.yaml $(DESTDIR)$(PREFIX)/share/weir/
	for s in $(SERVICES); do if [ -d services/$$s/migrations ]; then \
	    install -d $(DESTDIR)$(PREFIX)/share/weir/migrations/$$s; \
	    install -m 644 services/$$s/migrations/* $(DESTDIR)$(PREFIX)/share/weir/migrations/$$s/; fi; done

fuzzers: $(FUZZERS:%=$(B)/fuzz/%)

test-bins: $(BINS) $(TEST_BINS)

$(B)/obj/common/%.o: common/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) $(INC_common) $(CPPFLAGS_LIBS) -c $< -o $@
$(B)/obj/proto/%.o: proto/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) $(INC_proto) -c $< -o $@
$(B)/obj/services/%.o: services/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) $(INC_service) -c $< -o $@
$(B)/obj/cli/%.o: INC_cli += -DWEIR_PREFIX='"$(PREFIX)"'
$(B)/obj/cli/%.o: cli/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) $(INC_cli) $(CPPFLAGS_LIBS) -c $< -o $@
$(B)/obj/tests/%.o: tests/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) $(INC_tests) $(CPPFLAGS_LIBS) -c $< -o $@

$(LIBWEIR): $(call obj,$(COMMON_SRC))
	@mkdir -p $(@D) && rm -f $@
	$(call say,AR,$@)ar rcs $@ $^
$(LIBPROTO): $(call obj,$(PROTO_SRC))
	@mkdir -p $(@D) && rm -f $@
	$(call say,AR,$@)ar rcs $@ $^

define service_rule
$(B)/bin/$(1): $$(call obj,$$(wildcard services/$(1)/*.c)) $(MAIN) $(LIBPROTO) $(LIBWEIR)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS)
endef
$(foreach s,$(SERVICES),$(eval $(call service_rule,$(s))))

$(B)/bin/weir: $(call obj,$(CLI_SRC)) $(LIBPROTO) $(LIBWEIR)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(TEST_SERVICES:%=$(B)/test/%): $(B)/test/%: $(B)/obj/tests/services/%.o $(MAIN) $(LIBPROTO) $(LIBWEIR)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(UNIT_TESTS:%=$(B)/test/%): $(B)/test/%: $(B)/obj/tests/unit/%.o $(LIBPROTO) $(LIBWEIR)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)
$(CONTRACT_TESTS:%=$(B)/test/%): $(B)/test/%: $(B)/obj/tests/contract/%.o $(LIBPROTO) $(LIBWEIR)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)
$(FUZZERS:%=$(B)/fuzz/%): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(LIBPROTO) $(LIBWEIR)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

clean: ## remove what was built (the local stack's data stays: deploy/local/stack down --wipe)
	rm -rf build

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
