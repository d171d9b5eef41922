/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers of tasks as the agent knows them.
 */
#ifndef THALWEG_TASK_H
#define THALWEG_TASK_H

/* Inode of the agent's pid namespace; 0: the initial one. */
const volatile __u32 agent_pidns = 0;

#define PIDNS_LEVELS_MAX 8

/* Number of a task in the agent's pid namespace: walks the levels, which only nested agents pay. */
static __noinline __u32 namespaced(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 size = bpf_core_type_size(struct upid);
	void *numbers = (void *)pid + bpf_core_field_offset(pid->numbers);
	struct upid *at;
	__u32 level, deepest;

	if (!pid)
		return 0;
	deepest = BPF_CORE_READ(pid, level);
	for (level = 0; level < PIDNS_LEVELS_MAX && level <= deepest; level++) {
		at = numbers + level * size;
		if (BPF_CORE_READ(at, ns, ns.inum) == agent_pidns)
			return BPF_CORE_READ(at, nr);
	}
	return 0;
}

static __always_inline __u32 pid_of(struct task_struct *task)
{
	return agent_pidns ? namespaced(task->group_leader) : task->tgid;
}

static __always_inline __u32 tid_of(struct task_struct *task)
{
	return agent_pidns ? namespaced(task) : task->pid;
}

#endif
