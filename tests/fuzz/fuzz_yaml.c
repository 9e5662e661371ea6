/* YAML: a tree that can be written as JSON, or a reason with the name and a line. */
#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/yaml.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL;
    struct weir_err err;

    if (weir_yaml_parse("f", data, size, &root, &err) != WEIR_OK) {
        assert(root == NULL && strncmp(err.text, "f:", 2) == 0);
        assert(strtoul(err.text + 2, NULL, 10) >= 1);
        return 0;
    }
    char *text = json_dumps(root, JSON_ENCODE_ANY);
    assert(text != NULL);
    free(text);
    json_decref(root);
    return 0;
}
