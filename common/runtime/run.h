/* Runs a service until a signal or a fatal fault. */
#ifndef WEIR_RUN_H
#define WEIR_RUN_H

#include "runtime/settings.h"

/* self: the service's options, filled in. WEIR_OK after a clean stop; else, logged: BAD_INPUT when
 * what the options say can't be started with, FATAL later. */
int core_run(const struct weir_service *service, const struct settings *settings, const void *self,
             char *const *env);

#endif
