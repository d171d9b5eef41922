/* SPDX-License-Identifier: Apache-2.0 */
/* What loading of objects needs wherever it is done. */
#ifndef THALWEG_OBJECT_H
#define THALWEG_OBJECT_H

#include "addon.h"

struct bpf_object;

typedef bool (*visit_property)(napi_env env, const char *name, napi_value value, void *context);

/* Keeps what libbpf says from here on, for `throw_bpf`. */
void begin_log(void);
napi_value throw_bpf(napi_env env, int error, const char *step, const char *name);
/* Calls `visit` for each own property of `record`; stops and returns false when it does. */
bool each_property(napi_env env, napi_value record, visit_property visit, void *context);
/* A visitor: sets a constant of the object `context`. */
bool set_constant(napi_env env, const char *name, napi_value value, void *context);
/* Adds a duplicate of `fd` to `record`, to outlive libbpf's own. */
bool keep_fd(napi_env env, napi_value record, const char *name, int fd);

struct kept {
	napi_value links;
	napi_value programs;
	napi_value maps;
};

/* Makes the record that is handed out, with its three parts. */
bool make_kept(napi_env env, napi_value *attached, struct kept *kept);
bool keep_maps(napi_env env, struct bpf_object *object, const struct kept *kept);
/* Closes what was kept before a failure, without disturbing the exception under way. */
void drop_kept(napi_env env, const struct kept *kept);

#endif
