/* Options: an environment of one variable a line. Reasons must not show the secret's value. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <weir/option.h>

struct config {
    const char *text, *choice;
    int64_t wait_ms, size_bytes, number, secret;
    double ratio;
    bool flag;
};

static const char *const choices[] = { "a", "b", NULL };

// clang-format off
static const struct weir_option options[] = {
    { "WEIR_TEXT",      WEIR_AT(struct config, text), .optional = true },
    { "WEIR_CHOICE",    WEIR_AT(struct config, choice), .def = "a", .one_of = choices },
    { "WEIR_WAIT_MS",   WEIR_AT(struct config, wait_ms), .def = "2s", .min = 1, .max = 1e15 },
    { "WEIR_BUF_BYTES", WEIR_AT(struct config, size_bytes), .def = "64KiB" },
    { "WEIR_NUMBER",    WEIR_AT(struct config, number), .def = "-1", .min = -10 },
    { "WEIR_RATIO",     WEIR_AT(struct config, ratio), .def = "0.5", .max = 1 },
    { "WEIR_FLAG",      WEIR_AT(struct config, flag), .def = "no" },
    { "WEIR_SECRET",    WEIR_AT(struct config, secret), .def = "0", .secret = true },
    { 0 }
};
// clang-format on

static void nothing(void *arg, const char *line)
{
    (void)arg, (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX_VARIABLES = 64 };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    const struct weir_option *const tables[] = { options, NULL };
    char *env[MAX_VARIABLES + 1] = { 0 };
    char *text = weir_strndup(arena, (const char *)data, size), *save = NULL;
    struct config config = { 0 };
    struct weir_err err = { 0 };
    size_t count = 0;

    for (char *line = strtok_r(text, "\n", &save); line && count < MAX_VARIABLES;
         line = strtok_r(NULL, "\n", &save))
        if (strstr(line, "_FILE=") == NULL) /* no files of this machine */
            env[count++] = line;

    if (weir_options_read(options, env, arena, &config, &err) == WEIR_OK) {
        assert(config.wait_ms >= 1 && config.number >= -10 && config.size_bytes >= 0);
        assert(config.ratio >= 0 && config.ratio <= 1);
        assert(strcmp(config.choice, "a") == 0 || strcmp(config.choice, "b") == 0);
    } else {
        assert(err.fault == WEIR_FATAL && strncmp(err.text, "WEIR_", 5) == 0);
        assert(strncmp(err.text, "WEIR_SECRET", 11) != 0 ||
               strcmp(err.text, "WEIR_SECRET: the value is not an integer") == 0);
    }
    if (weir_options_unknown(tables, env, "SHELF_HELP_", nothing, NULL, &err) != WEIR_OK)
        assert(strstr(err.text, ": unknown") != NULL || strlen(err.text) > 100);
    return 0;
}
