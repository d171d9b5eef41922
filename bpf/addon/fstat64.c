// SPDX-License-Identifier: Apache-2.0
/*
 * fstat64 came as a symbol with glibc 2.33; the addon asks for no more than 2.28. libbpf and libelf
 * call it. On 64-bit systems struct stat is the kernel's own, so that the bare call will do.
 */
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("hidden"))) int fstat64(int fd, void *status)
{
	return (int)syscall(SYS_fstat, fd, status);
}
