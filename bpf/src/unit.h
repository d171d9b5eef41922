/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which unit of work inside of a thread makes a call: a turn of libuv's loop, a goroutine, a task of
 * asyncio. Read from the process's own memory by a recipe that the agent has learned for it; what
 * does not fit the recipe gives no unit.
 */
#ifndef THALWEG_UNIT_H
#define THALWEG_UNIT_H

#define AWAIT_DEPTH_MAX 4
#define CELLS_MAX 6

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct unit_recipe);
} process_recipes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct unit_recipe);
} thread_recipes SEC(".maps");

static __always_inline __u64 user_word(__u64 address)
{
	__u64 word;

	return bpf_probe_read_user(&word, sizeof(word), (void *)address) ? 0 : word;
}

/* Number of the loop's turn, whether it hands out events of sockets, and the task's reads so far. */
static __always_inline void read_loop(struct slice_event *event, const struct unit_recipe *recipe,
				      struct task_struct *task)
{
	__u64 fields = recipe->addresses[0];

	event->unit = user_word(fields + recipe->offsets[0]);
	if (bpf_core_field_exists(task->ioac.syscr))
		event->origin = task->ioac.syscr << 1;
	if (user_word(fields + recipe->offsets[1]))
		event->origin |= 1;
	event->head.unit_kind = UNIT_LOOP;
}

#if defined(__TARGET_ARCH_x86)
#define GOROUTINE_REGISTER r14
#elif defined(__TARGET_ARCH_arm64)
#define GOROUTINE_REGISTER regs[28]
#endif

/*
 * The goroutine and the one that started it. The connection pool of net/http writes requests on
 * goroutines of its own: there it is the one that waits for the outcome of the write.
 */
static __always_inline void read_goroutine(struct slice_event *event,
					   const struct unit_recipe *recipe,
					   struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 g = regs->GOROUTINE_REGISTER;
	__u64 channel, waiting;
	__u64 header[4];

	event->head.unit_kind = UNIT_GOROUTINE;
	if (recipe->addresses[0] && user_word(g + recipe->offsets[2]) == recipe->addresses[0] &&
	    !(event->head.flags & FLAG_RECEIVED)) {
		/* The slot lies at a fixed distance below the end of the goroutine's stack. */
		channel = user_word(user_word(g + 8) - recipe->offsets[3]);
		if (bpf_probe_read_user(header, sizeof(header), (void *)channel))
			return;
		/* A channel for one error, to which nothing was sent yet. */
		if (header[0] != 0 || header[1] != 1 || (header[3] & 0xffff) != 16)
			return;
		waiting = user_word(channel + recipe->offsets[4]);
		g = waiting ? user_word(waiting) : 0;
		if (!g)
			return;
	}
	event->unit = user_word(g + recipe->offsets[0]);
	/* Older runtimes do not keep who started a goroutine. */
	if (recipe->offsets[1])
		event->origin = user_word(g + recipe->offsets[1]);
}

/* The task that is woken by `callback`, if it is of the type of `task`; else 0. */
static __always_inline __u64 woken_by(__u64 callback, __u64 task_type,
				      const struct unit_recipe *recipe)
{
	__u64 woken;

	if (!callback || user_word(callback + 8) != recipe->addresses[1])
		return 0;
	woken = user_word(callback + recipe->offsets[2]);
	return woken && user_word(woken + 8) == task_type ? woken : 0;
}

struct cell_search {
	__u64 closure;
	__u64 count;
	__u64 task_type;
	const struct unit_recipe *recipe;
	__u64 found;
};

static long search_cell(__u32 index, struct cell_search *search)
{
	__u64 held;

	if (index >= search->count)
		return 1;
	held = user_word(user_word(search->closure + 24 + 8 * (__u64)index) + 16);
	if (!held)
		return 0;
	search->found = woken_by(user_word(held + search->recipe->offsets[1]), search->task_type,
				 search->recipe);
	return search->found != 0;
}

/* The task that waits for `task`, directly or by a gathering future; 0 where none is known. */
static __noinline __u64 awaiting(__u64 task, const struct unit_recipe *recipe)
{
	struct cell_search search = { .recipe = recipe };
	__u64 callback = user_word(task + recipe->offsets[1]);
	__u64 type;

	if (!callback)
		return 0;
	search.task_type = user_word(task + 8);
	type = user_word(callback + 8);
	if (type == recipe->addresses[1])
		return woken_by(callback, search.task_type, recipe);
	if (type != recipe->addresses[2])
		return 0;
	search.closure = user_word(callback + recipe->offsets[3]);
	if (!search.closure)
		return 0;
	search.count = user_word(search.closure + 16);
	REPEAT(CELLS_MAX, search_cell, &search);
	return search.found;
}

/*
 * The task under way, and the outermost one that waits for it. The dictionary of current tasks has
 * one entry while one loop runs in the process, always the last that was added.
 */
static __always_inline void read_task(struct slice_event *event, const struct unit_recipe *recipe)
{
	__u64 dictionary = recipe->addresses[0];
	__u64 header[4];
	__u64 keys, task, next;
	int depth;

	event->head.unit_kind = UNIT_TASK;
	if (user_word(dictionary + 16) != 1)
		return;
	keys = user_word(dictionary + recipe->offsets[0]);
	if (bpf_probe_read_user(header, sizeof(header), (void *)keys) || !header[3])
		return;
	/* The second word holds, in its bytes, the logarithms of the entries' and the index's size. */
	task = user_word(keys + 32 + (1ull << (header[1] >> 8 & 31)) + 24 * (header[3] - 1) + 16);
	if (!task)
		return;
	event->unit = task;
	event->origin = task;
	for (depth = 0; depth < AWAIT_DEPTH_MAX; depth++) {
		next = awaiting(event->origin, recipe);
		if (!next)
			break;
		event->origin = next;
	}
}

/* How often the agent has written a recipe: what a connection knows of none is true until the next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} recipes_written SEC(".maps");

/*
 * Finds the unit of work. `*plain_since` remembers, between calls on one connection, that there was no
 * recipe when so many were written; 0: nothing is remembered.
 */
static __always_inline void read_unit(struct slice_event *event, struct task_struct *task,
				      __u32 *plain_since)
{
	const struct unit_recipe *recipe;
	__u32 zero = 0;
	__u32 *written = bpf_map_lookup_elem(&recipes_written, &zero);

	event->head.unit_kind = UNIT_NONE;
	event->unit = 0;
	event->origin = 0;
	if (!written || !*written || *plain_since == *written)
		return;
	recipe = bpf_map_lookup_elem(&thread_recipes, &event->tid);
	if (!recipe || recipe->kind == UNIT_NONE)
		recipe = bpf_map_lookup_elem(&process_recipes, &event->head.pid);
	if (!recipe || recipe->kind == UNIT_NONE) {
		*plain_since = *written;
		return;
	}
	if (recipe->kind == UNIT_LOOP)
		read_loop(event, recipe, task);
	else if (recipe->kind == UNIT_GOROUTINE)
		read_goroutine(event, recipe, task);
	else if (recipe->kind == UNIT_TASK)
		read_task(event, recipe);
}

#endif
