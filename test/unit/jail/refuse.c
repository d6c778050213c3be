// Runs a program on a host that refuses what jails are made of: system calls fail with EPERM.
//     refuse namespaces PROGRAM ARGUMENT...    as the sysctl user.max_user_namespaces=0 does
//     refuse mounts PROGRAM ARGUMENT...        as the AppArmor profile of Ubuntu 24.04 does
//     refuse landlock PROGRAM ARGUMENT...      namespaces, and landlock as a kernel without it
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define REFUSE(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
// Goes on with the next instruction if the loaded word is `value`, else skips it.
#define IF(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1)
#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)

static int install(struct sock_filter *filter, size_t count)
{
	struct sock_fprog program = { .len = (unsigned short)count, .filter = filter };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) : -1;
}

static int refuse_namespaces(void)
{
	struct sock_filter filter[] = {
		LOAD(nr),
		IF(SYS_clone3),
		REFUSE(ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 3),
		LOAD(args[0]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
		REFUSE(EPERM),
		ALLOW,
	};
	return install(filter, sizeof filter / sizeof *filter);
}

static int refuse_call(unsigned number, unsigned error)
{
	struct sock_filter filter[] = { LOAD(nr), IF(number), REFUSE(error), ALLOW };
	return install(filter, sizeof filter / sizeof *filter);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	int result = -1;
	if (strcmp(argv[1], "namespaces") == 0)
		result = refuse_namespaces();
	else if (strcmp(argv[1], "mounts") == 0)
		result = refuse_call(SYS_mount, EPERM);
	else if (strcmp(argv[1], "landlock") == 0)
		result = refuse_call(SYS_landlock_create_ruleset, ENOSYS) == 0 ? refuse_namespaces() : -1;
	if (result != 0) {
		perror("refuse");
		return 2;
	}
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 2;
}
