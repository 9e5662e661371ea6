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
.PHONY: all help test-bins deps demo check unit contract integration bench asan tsan fuzz lint format contracts layers install clean

all: $(BINS) ## build every binary to build/bin/

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

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
