// Doors of the kernel that past escapes went through.
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ETH_P_ALL_BIG_ENDIAN = 0x0300 };

static bool makes_bpf_map(void)
{
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = 4;
	attributes.value_size = 4;
	attributes.max_entries = 1;
	return probe_close(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)));
}

static bool makes_io_uring(void)
{
	struct io_uring_params parameters;
	memset(&parameters, 0, sizeof(parameters));
	return probe_close(syscall(SYS_io_uring_setup, 1, &parameters));
}

/** Counts the kernel's own instructions, which only a privileged process may. */
static bool counts_kernel(void)
{
	struct perf_event_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.type = PERF_TYPE_SOFTWARE;
	attributes.size = sizeof(attributes);
	attributes.config = PERF_COUNT_SW_CPU_CLOCK;
	attributes.disabled = 1;
	return probe_close(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

static bool makes_user_namespace(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
}

/** In a network namespace of its own a user may give the kernel rules of nftables. */
static bool reaches_netfilter(void)
{
	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	return probe_close(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
}

static bool traces(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

/** Reads the memory of the parent. */
static bool reads_process(void)
{
	char from = 'x';
	char to = 0;
	struct iovec local = { .iov_base = &to, .iov_len = 1 };
	struct iovec remote = { .iov_base = &from, .iov_len = 1 };
	return process_vm_readv(getppid(), &local, 1, &remote, 1, 0) == 1;
}

static bool reads_ldt(void)
{
	char entry[16];
	return syscall(SYS_modify_ldt, 0, entry, sizeof(entry)) >= 0;
}

void probe_doors(void)
{
	probe_tell("kvm", probe_opens("/dev/kvm", O_RDWR));
	probe_tell("vhost", probe_opens("/dev/vhost-net", O_RDWR) || probe_opens("/dev/vhost-vsock", O_RDWR));
	probe_tell("fuse", probe_opens("/dev/fuse", O_RDWR));
	probe_tell("tun", probe_opens("/dev/net/tun", O_RDWR));
	probe_tell("bpf", makes_bpf_map());
	probe_tell("io_uring", makes_io_uring());
	probe_tell("userfaultfd", probe_close(syscall(SYS_userfaultfd, O_CLOEXEC)));
	probe_tell("perf", counts_kernel());
	probe_tell("keyring", syscall(SYS_keyctl, 0, -3, 0) >= 0);
	probe_tell("ptrace", probe_in_child(traces));
	probe_tell("process-memory", probe_in_child(reads_process));
	probe_tell("user-namespace", probe_in_child(makes_user_namespace));
	probe_tell("netfilter", probe_in_child(reaches_netfilter));
	probe_tell("file-system-context", probe_close(syscall(SYS_fsopen, "tmpfs", 0)));
	probe_tell("fanotify", probe_close(syscall(SYS_fanotify_init, 0, O_RDONLY)));
	probe_tell("local-descriptor-table", reads_ldt());
	probe_tell("raw-socket", probe_close(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP)));
	probe_tell("packet-socket", probe_close(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, ETH_P_ALL_BIG_ENDIAN)));
	probe_tell("crypto-socket", probe_close(socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
}
