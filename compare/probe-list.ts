// The table of probes: what each looks for, and what past attack or paper says that it matters.
export interface Probe {
  /** The gauge's name of it. */
  name: string;
  title: string;
  /**
   * - `value`: the gauge prints what it sees.
   * - `kernel`: a door of the kernel. It is the host's if the kernel is.
   * - `host`: it is the host's if it is open.
   */
  kind: 'value' | 'kernel' | 'host';
  /** A CVE, a paper, or the manual that says why. */
  source: string;
}

const LEAKS = 'Gao et al., ContainerLeaks, DSN 2017';

const sees = (name: string, title: string, source = LEAKS): Probe => ({ name, title, kind: 'value', source });
const door = (name: string, title: string, source = LEAKS): Probe => ({ name, title, kind: 'kernel', source });
const reaches = (name: string, title: string, source: string): Probe => ({ name, title, kind: 'host', source });

export const PROBES: readonly Probe[] = [
  sees('boot', "the kernel's boot_id"),
  sees('release', "the kernel's release"),
  sees('hostname', 'the name of the host', 'uts_namespaces(7)'),
  sees('memory', 'size of memory'),
  sees('cpu-model', 'model of the CPU'),
  sees('cpus', 'CPUs that are there'),
  sees('boot-time', 'time of the boot'),
  sees('command-line', "the kernel's command line", 'proc_cmdline(5)'),
  sees('product', 'product name in the firmware', 'sysfs(5)'),
  sees('machine-id', 'machine ID', 'machine-id(5)'),
  sees('process', 'a process of the host', 'pid_namespaces(7)'),
  reaches('paths', 'paths of the host in the mounts', 'proc_pid_mountinfo(5)'),
  door('log', "the kernel's log", 'syslog(2)'),
  door('symbols', 'addresses of the kernel', 'Hund et al., S&P 2013'),
  door('module-list', 'list of kernel modules'),
  door('interrupts', 'counts of interrupts'),
  door('timers', 'timers of all processes'),
  door('scheduler', 'state of the scheduler'),
  door('disk-statistics', 'statistics of disks', 'proc_diskstats(5)'),
  door('keys', 'list of keys', 'proc_keys(5)'),
  door('cgroups', 'the tree of cgroups', 'cgroup_namespaces(7)'),
  door('power', 'energy that the CPU has used', 'CVE-2020-8694 (PLATYPUS)'),
  reaches('loopback', "a server on the host's loopback", 'CVE-2020-8558'),
  reaches('network', "a server on the host's network", 'network_namespaces(7)'),
  reaches('metadata', 'the metadata address', 'MITRE ATT&CK T1552.005'),
  reaches('abstract-socket', 'an abstract socket of the host', 'CVE-2020-15257'),
  reaches('vsock', 'the host by vsock', 'CVE-2021-26708'),
  reaches('engine-socket', 'the socket of a container engine', 'MITRE ATT&CK T1611'),
  reaches('system-bus', 'the system bus', 'dbus-daemon(1)'),
  door('sysctl', 'writing core_pattern', 'CVE-2022-0811'),
  door('sysrq', 'writing sysrq-trigger', 'proc_sysrq-trigger(5)'),
  door('uevent-helper', 'writing uevent_helper', 'runtime-spec: readonlyPaths'),
  door('release-agent', 'writing release_agent', 'CVE-2022-0492'),
  door('modules', 'loading kernel modules', 'init_module(2)'),
  door('kexec', 'loading another kernel', 'kexec_load(2)'),
  door('reboot', 'restarting the machine', 'reboot(2)'),
  door('clock', 'setting the clock', 'adjtimex(2)'),
  door('physical-memory', 'physical memory', 'mem(4)'),
  door('kernel-memory', 'memory of the kernel', 'proc_kcore(5)'),
  door('io-ports', 'I/O ports', 'ioperm(2)'),
  door('disk', 'a raw disk', 'MITRE ATT&CK T1611'),
  door('device-node', 'making device nodes', 'mknod(2)'),
  door('mount', 'mounting', 'mount_namespaces(7)'),
  door('file-handle', 'opening files by handle', 'Krahmer, Shocker, 2014'),
  reaches('root-write', 'writing in the root', 'runtime-spec: root.readonly'),
  door('real-time', 'real-time priority', 'sched(7)'),
  door('kvm', '/dev/kvm', 'CVE-2021-22543'),
  door('vhost', 'vhost devices', 'CVE-2019-14835'),
  door('fuse', '/dev/fuse', 'fuse(4)'),
  door('tun', '/dev/net/tun', 'CVE-2023-1076'),
  door('bpf', 'bpf', 'CVE-2021-3490'),
  door('io_uring', 'io_uring', 'CVE-2022-29582'),
  door('userfaultfd', 'userfaultfd', 'CVE-2019-18683'),
  door('perf', 'perf events of the kernel', 'CVE-2013-2094'),
  door('keyring', 'key rings', 'CVE-2016-0728'),
  door('ptrace', 'ptrace', 'CVE-2019-13272'),
  door('process-memory', 'memory of another process', 'process_vm_readv(2)'),
  door('user-namespace', 'making user namespaces', 'CVE-2022-0185'),
  door('netfilter', 'rules of nftables', 'CVE-2022-1015'),
  door('file-system-context', 'fsopen', 'CVE-2022-0185'),
  door('fanotify', 'fanotify', 'fanotify(7)'),
  door('local-descriptor-table', 'modify_ldt', 'CVE-2017-17053'),
  door('raw-socket', 'raw sockets', 'CVE-2017-17712'),
  door('packet-socket', 'packet sockets', 'CVE-2020-14386'),
  door('crypto-socket', 'AF_ALG', 'CVE-2019-8912'),
  door('siblings', 'CPUs that are siblings', 'CVE-2018-12130 (MDS)'),
  door('fine-clock', 'a clock finer than 1 us', 'Yarom and Falkner, FLUSH+RELOAD, USENIX Security 2014'),
  door('merged-pages', 'merging of equal pages', 'CVE-2015-2877'),
  door('vulnerabilities', 'weaknesses of the CPU', 'Kocher et al., Spectre, S&P 2019'),
  door('users', "its root is the kernel's root", 'user_namespaces(7)'),
  door('watches', 'inotify counted with the root of the kernel', 'inotify(7)'),
  door('shared-memory', '/dev/shm of half the memory', 'tmpfs(5)'),
  door('lack-of-memory', 'safe from the lack of memory', 'proc_pid_oom_score_adj(5)'),
  door('limits', 'raising its limits', 'getrlimit(2)'),
  door('priority', 'running before all others', 'setpriority(2)'),
];
