/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the addon's files share: errors with the errno's name, reading of arguments, registration.
 *
 * Every function returns NULL after a throw. Nothing is static but constants, so that any number of
 * threads may load the addon: state hangs on handles and on the environment's instance record.
 */
#ifndef THALWEG_ADDON_H
#define THALWEG_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARGUMENTS_MAX 6
#define ADDRESS_TEXT_MAX 64

/* One per environment (main thread or worker). */
struct instance {
	int diag_fd; /* netlink socket, opened at its first use; -1 before */
	uint32_t diag_seq;
};

/* Throws Error{code, syscall, log}. `log` may be NULL. Returns NULL for `return throw_errno(…)`. */
napi_value throw_errno(napi_env env, int error, const char *syscall, const char *log);
/* Throws a TypeError for a caller's mistake. */
napi_value throw_argument(napi_env env, const char *what);

/* Reads exactly `count` arguments, at most ARGUMENTS_MAX; throws and returns false otherwise. */
bool read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values);
bool read_number(napi_env env, napi_value value, const char *name, double *number);
bool read_u32(napi_env env, napi_value value, const char *name, uint32_t *number);
bool read_text(napi_env env, napi_value value, const char *name, char *text, size_t size);
bool read_bytes(napi_env env, napi_value value, const char *name, void **bytes, size_t *length);
bool read_buffer(napi_env env, napi_value value, const char *name, void **bytes, size_t *length);
/* The record behind an external, checked by the magic number it must begin with. */
void *read_handle(napi_env env, napi_value value, const char *name, uint32_t magic);

/* Results. A failure here is a lack of memory or a pending exception; NULL is returned. */
napi_value make_number(napi_env env, double number);
napi_value make_bigint(napi_env env, uint64_t number);
bool set_number(napi_env env, napi_value object, const char *name, double number);
bool set_bigint(napi_env env, napi_value object, const char *name, uint64_t number);
bool set_text(napi_env env, napi_value object, const char *name, const char *text);
napi_value make_undefined(napi_env env);

struct instance *instance_of(napi_env env);

struct function_entry {
	const char *name;
	napi_callback call;
};

/* Each file's functions, ended by a NULL name. */
extern const struct function_entry attach_functions[];
extern const struct function_entry ring_functions[];
extern const struct function_entry packet_functions[];
extern const struct function_entry diag_functions[];
extern const struct function_entry uprobe_functions[];

#endif
