/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the system call under way to the caller's bytes.
 *
 * The registers are trusted only while the task is inside a 64-bit system call of its own: io_uring
 * runs its requests on the way out of any other call, where they name somebody else's buffer.
 *
 * Functions without `static` are verified once and by themselves, which keeps the number of paths
 * that the verifier walks a sum instead of a product.
 */
#ifndef THALWEG_CALL_H
#define THALWEG_CALL_H

/* First look at a head that is longer than usual. */
#define HEAD_BYTES_FIRST 4096
/* Of a call in the midst of a long body: enough to see that a message begins after all. */
#define BULK_BYTES 128
/* Long calls in a row of one direction that are copied wholly, where frames may follow each other in them. */
#define LONG_CALLS_MAX 16
#define IOVECS_MAX 64 /* a power of two */
#define METHOD_BYTES_MAX 20

#define PF_KTHREAD 0x00200000

struct scratch {
	__u64 taken;
	struct iovec vectors[IOVECS_MAX]; /* here, since stacks are short */
	struct slice_event event;
	/* Twice as long as is used: the verifier knows an offset below one half and a length of the other. */
	__u8 bytes[2 * HEAD_BYTES_MAX];
};
_Static_assert(offsetof(struct scratch, bytes) ==
		       offsetof(struct scratch, event) + sizeof(struct slice_event),
	       "payload follows its header");

/* The caller's buffer: plain, or a vector of buffers. */
struct call {
	__u64 base;
	__u64 vectors; /* count; 0: `base` is the buffer itself */
};

enum buffer_kind {
	BUFFER_NONE,
	BUFFER_PLAIN, /* (fd, buffer, …) */
	BUFFER_VECTOR, /* (fd, iovec *, count, …) */
	BUFFER_MESSAGE, /* (fd, msghdr *, …) */
	BUFFER_MESSAGES, /* (fd, mmsghdr *, count, …) */
};

#if defined(__TARGET_ARCH_x86)

#define SYS_READ 0
#define SYS_WRITE 1
#define SYS_READV 19
#define SYS_WRITEV 20
#define SYS_SENDTO 44
#define SYS_RECVFROM 45
#define SYS_SENDMSG 46
#define SYS_RECVMSG 47
#define SYS_RECVMMSG 299
#define SYS_SENDMMSG 307
#define SYS_SENDFILE 40
#define SYS_SPLICE 275

#define CALL_NUMBER(regs) ((regs)->orig_ax)
#define FIRST_ARGUMENT(regs) ((regs)->di)
#define SECOND_ARGUMENT(regs) ((regs)->si)
#define THIRD_ARGUMENT(regs) ((regs)->dx)
#define FOURTH_ARGUMENT(regs) ((regs)->r10)

#define TS_COMPAT 0x0002
#define ENOSYS 38

static __always_inline bool is_32bit(struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

/*
 * False outside of a 64-bit call: ax holds -ENOSYS from the entry of a call until its return. Hooks
 * that find sockets by descriptors run at the return of a call, and know that.
 */
static __always_inline bool read_registers(struct task_struct *task, __u64 *number, __u64 *second,
					   __u64 *third)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if (is_32bit(task))
		return false;
#ifndef SOCKETS_BY_DESCRIPTOR
	if ((long)regs->ax != -ENOSYS)
		return false;
#endif
	*number = regs->orig_ax;
	*second = regs->si;
	*third = regs->dx;
	return true;
}

#elif defined(__TARGET_ARCH_arm64)

#define SYS_READ 63
#define SYS_WRITE 64
#define SYS_READV 65
#define SYS_WRITEV 66
#define SYS_SENDTO 206
#define SYS_RECVFROM 207
#define SYS_SENDMSG 211
#define SYS_RECVMSG 212
#define SYS_RECVMMSG 243
#define SYS_SENDMMSG 269
#define SYS_SENDFILE 71
#define SYS_SPLICE 76

#define CALL_NUMBER(regs) ((regs)->syscallno)
#define FIRST_ARGUMENT(regs) ((regs)->orig_x0)
#define SECOND_ARGUMENT(regs) ((regs)->regs[1])
#define THIRD_ARGUMENT(regs) ((regs)->regs[2])
#define FOURTH_ARGUMENT(regs) ((regs)->regs[3])

#define TIF_32BIT (1ul << 22)

static __always_inline bool is_32bit(struct task_struct *task)
{
	return task->thread_info.flags & TIF_32BIT;
}

/*
 * False outside of a 64-bit call: x0 holds the descriptor until the return value takes its place. A
 * call that has just returned the number of its own descriptor looks as if it were still under way.
 */
static __always_inline bool read_registers(struct task_struct *task, __u64 *number, __u64 *second,
					   __u64 *third)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if (is_32bit(task) || regs->syscallno < 0)
		return false;
#ifndef SOCKETS_BY_DESCRIPTOR
	if (regs->regs[0] != regs->orig_x0)
		return false;
#endif
	*number = regs->syscallno;
	*second = regs->regs[1];
	*third = regs->regs[2];
	return true;
}

#else
#error "no registers and call numbers for this architecture"
#endif

static __always_inline enum buffer_kind kind_of(__u64 number)
{
	switch (number) {
	case SYS_READ:
	case SYS_WRITE:
	case SYS_SENDTO:
	case SYS_RECVFROM:
		return BUFFER_PLAIN;
	case SYS_READV:
	case SYS_WRITEV:
		return BUFFER_VECTOR;
	case SYS_SENDMSG:
	case SYS_RECVMSG:
		return BUFFER_MESSAGE;
	case SYS_SENDMMSG:
	case SYS_RECVMMSG:
		return BUFFER_MESSAGES;
	default:
		return BUFFER_NONE;
	}
}

/* False: the payload is out of reach, and the slice carries its length alone. */
static __always_inline bool read_call(struct task_struct *task, struct call *call)
{
	struct user_msghdr header;
	__u64 number = 0, second = 0, third = 0;

	if (task->flags & PF_KTHREAD || !read_registers(task, &number, &second, &third))
		return false;
	call->base = second;
	call->vectors = 0;
	switch (kind_of(number)) {
	case BUFFER_PLAIN:
		return true;
	case BUFFER_VECTOR:
		call->vectors = third;
		return third > 0;
	case BUFFER_MESSAGES:
		/* The hook does not tell which message it is called for. */
		if (third != 1)
			return false;
		break;
	case BUFFER_MESSAGE:
		break;
	default:
		return false;
	}
	if (bpf_probe_read_user(&header, sizeof(header), (void *)second))
		return false;
	call->base = (__u64)header.msg_iov;
	call->vectors = header.msg_iovlen;
	return header.msg_iovlen > 0;
}

/* Reads `length` bytes to `offset` of the area; both are bounded again for the verifier. */
static __always_inline bool read_part(struct scratch *area, __u64 offset, __u64 length, __u64 from)
{
	asm volatile("" : "+r"(offset));
	offset &= HEAD_BYTES_MAX - 1;
	asm volatile("" : "+r"(length));
	if (length > HEAD_BYTES_MAX)
		length = HEAD_BYTES_MAX;
	return bpf_probe_read_user(area->bytes + offset, length, (void *)from) == 0;
}

/*
 * Calls `step` with 0, 1, … until it returns other than 0, at most `times`. Before 5.17 the kernel has no
 * loop of its own, and the verifier walks through every turn.
 */
#define REPEAT(times, step, context)                                                 \
	do {                                                                         \
		__u32 turn;                                                          \
		if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {   \
			bpf_loop(times, step, context, 0);                           \
			break;                                                       \
		}                                                                    \
		for (turn = 0; turn < (times); turn++)                               \
			if (step(turn, context))                                     \
				break;                                               \
	} while (0)

struct vector_copy {
	struct scratch *area;
	__u32 count;
	__u32 wanted;
	__u32 copied;
};

/* Copies one buffer behind what was copied. */
static long copy_vector(__u32 index, struct vector_copy *copy)
{
	__u64 at = index;
	struct iovec *vector;
	__u32 part;

	if (index >= copy->count || copy->copied >= copy->wanted)
		return 1;
	asm volatile("" : "+r"(at));
	at &= IOVECS_MAX - 1;
	vector = copy->area->vectors + at;
	part = copy->wanted - copy->copied;
	if (vector->iov_len < part)
		part = vector->iov_len;
	if (!part)
		return 0;
	if (!read_part(copy->area, copy->copied, part, (__u64)vector->iov_base))
		return 1;
	copy->copied += part;
	return 0;
}

/* Copies the first `wanted` bytes from at most IOVECS_MAX buffers. */
static __always_inline __u32 gather_vectors(struct scratch *area, struct call *call, __u32 wanted)
{
	struct vector_copy copy = { .area = area, .wanted = wanted };
	__u64 count = call->vectors;

	asm volatile("" : "+r"(count));
	if (count > IOVECS_MAX)
		count = IOVECS_MAX;
	copy.count = count;
	/* One read for all: its fixed cost is above that of the bytes. */
	if (bpf_probe_read_user(area->vectors, count * sizeof(area->vectors[0]), (void *)call->base))
		return 0;
	REPEAT(IOVECS_MAX, copy_vector, &copy);
	return copy.copied;
}

/* Copies up to `wanted` bytes, at most HEAD_BYTES_MAX, of which `present` are in the area already. */
__noinline __u32 gather(struct scratch *area, struct call *call, __u32 present, __u32 wanted)
{
	if (!area || !call)
		return 0;
	if (call->vectors)
		return gather_vectors(area, call, wanted);
	if (!read_part(area, present, wanted - present, call->base + present))
		return present;
	return wanted;
}

static __always_inline bool is_token(__u8 c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

/*
 * Where the target of a request line ("token SP") begins, 1 for a status line, 0 for neither. Text that only
 * looks like one costs a longer copy and nothing else.
 */
__noinline __u32 starts_message(struct scratch *area)
{
	const __u8 *bytes;
	__u32 i;

	if (!area)
		return 0;
	bytes = area->bytes;
	if (bytes[0] == 'H' && bytes[1] == 'T' && bytes[2] == 'T' && bytes[3] == 'P' &&
	    bytes[4] == '/')
		return 1;
	for (i = 0; i < METHOD_BYTES_MAX; i++) {
		if (bytes[i] == ' ')
			return i >= 3 ? i + 1 : 0;
		if (!is_token(bytes[i]))
			return 0;
	}
	return 0;
}

/* Requests of these methods carry heads only, so what follows in the same call is the next request. */
static __always_inline bool is_bodyless(const __u8 *bytes)
{
	return (bytes[0] == 'G' && bytes[1] == 'E' && bytes[2] == 'T') ||
	       (bytes[0] == 'H' && bytes[1] == 'E' && bytes[2] == 'A') ||
	       (bytes[0] == 'D' && bytes[1] == 'E' && bytes[2] == 'L') ||
	       (bytes[0] == 'O' && bytes[1] == 'P' && bytes[2] == 'T');
}

/* Whether the first `bytes` of the area, at least one, end with an empty line. */
static __always_inline bool ends_with_blank(struct scratch *area, __u32 bytes)
{
	__u64 at = bytes - 4;

	asm volatile("" : "+r"(at));
	at &= HEAD_BYTES_MAX - 1;
	return area->bytes[at] == '\r' && area->bytes[at + 1] == '\n' &&
	       area->bytes[at + 2] == '\r' && area->bytes[at + 3] == '\n';
}

struct blank_search {
	struct scratch *area;
	__u32 bytes;
	__u32 found;
	__u32 end; /* of the head, where found */
};

/* One word of the search: looks closer only at words that hold a line feed. */
static long search_word(__u32 index, struct blank_search *search)
{
	__u64 at = (__u64)index * 8;
	__u64 word, hit;
	__u8 *bytes;
	__u32 i;

	if (at >= search->bytes || at > HEAD_BYTES_FIRST - 8)
		return 1;
	bytes = search->area->bytes + at;
	word = *(__u64 *)bytes ^ 0x0a0a0a0a0a0a0a0aULL;
	hit = (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
	if (!hit)
		return 0;
	for (i = 0; i < 8; i++) {
		if (bytes[i] != '\n')
			continue;
		if (bytes[i + 1] == '\n' || (bytes[i + 1] == '\r' && bytes[i + 2] == '\n')) {
			search->end = at + i + (bytes[i + 1] == '\n' ? 2 : 3);
			search->found = at + i + 2 <= search->bytes;
			return 1;
		}
	}
	return 0;
}

/* 1 if the head ends within the first `bytes` of the area, of which HEAD_BYTES_FIRST are looked at. */
__noinline __u32 has_blank_line(struct scratch *area, __u32 bytes)
{
	struct blank_search search = { .area = area, .bytes = bytes };

	if (!area)
		return 0;
	REPEAT(HEAD_BYTES_FIRST / 8, search_word, &search);
	return search.found;
}

/* Bytes of the head that begins the area, of which `bytes` are there; 0 where it does not end within them. */
__noinline __u32 head_bytes(struct scratch *area, __u32 bytes)
{
	struct blank_search search = { .area = area, .bytes = bytes };

	if (!area)
		return 0;
	REPEAT(HEAD_BYTES_FIRST / 8, search_word, &search);
	return search.found && search.end <= bytes ? search.end : 0;
}

#endif
