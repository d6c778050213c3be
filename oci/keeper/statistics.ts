// The statistics of a container, from the files of its cgroup that the agent's tool `statistics` prints, in the
// shape of `runc events`. The guest is hostile: it may print anything.

/** The most entries of a list: a line of the answer is at most 16 KiB. */
const MAX_RAW = 100;
const MAX_OTHERS = 16;

export interface Statistics {
  /** `data` of an event of the type `stats`. */
  data: object;
  /** Processes that the guest's kernel has killed for lack of memory. */
  oomKills: number;
}

/** @param answer names and contents of files, each ended by a NUL */
export function parseStatistics(answer: Buffer): Statistics {
  const files = new Map<string, string>();
  const fields = answer.toString().split('\0').slice(0, -1).values();
  for (const name of fields) files.set(name, fields.next().value ?? '');
  const text = (name: string) => files.get(name) ?? '';
  const cpu = table(text('cpu.stat'));
  const raw = table(text('memory.stat'));
  const events = table(text('memory.events'));
  const nanoseconds = (name: string) => (cpu[name] ?? 0) * 1000;
  const none = { limit: 0, failcnt: 0 };
  const data = {
    cpu: {
      usage: {
        total: nanoseconds('usage_usec'),
        kernel: nanoseconds('system_usec'),
        user: nanoseconds('user_usec'),
      },
      throttling: {
        periods: cpu.nr_periods ?? 0,
        throttledPeriods: cpu.nr_throttled ?? 0,
        throttledTime: nanoseconds('throttled_usec'),
      },
    },
    cpuset: CPUSET,
    memory: {
      cache: raw.file ?? 0,
      usage: {
        // Without a limit, it is the machine's memory.
        limit: count(text('memory.max')) ?? (table(text('meminfo')).MemTotal ?? 0) * 1024,
        usage: count(text('memory.current')) ?? 0,
        max: count(text('memory.peak')) ?? 0,
        failcnt: events.max ?? 0,
      },
      swap: none,
      kernel: none,
      kernelTCP: { ...none, usage: raw.sock ?? 0 },
      raw,
    },
    pids: { current: count(text('pids.current')) ?? 0, limit: count(text('pids.max')) ?? 0 },
    blkio: blkio(text('io.stat')),
    hugetlb: {},
    intel_rdt: {},
    network_interfaces: interfaces(text('net/dev')),
  };
  return { data, oomKills: events.oom_kill ?? 0 };
}

/** Of cgroup v1, as runc prints it for v2. */
const CPUSET = {
  ...{ cpu_exclusive: 0, mem_hardwall: 0, mem_exclusive: 0, memory_migrate: 0, memory_spread_page: 0 },
  ...{ memory_spread_slab: 0, memory_pressure: 0, sched_load_balance: 0, sched_relax_domain_level: 0 },
};

/** A number that JSON and JavaScript hold exactly; undefined for other text, as `max`. */
function count(text: string): number | undefined {
  return /^\d{1,15}\s*$/.test(text) ? Number(text) : undefined;
}

/** Lines of `name number` or `name: number kB`. */
function table(text: string): Record<string, number> {
  const lines = [...text.matchAll(/^(\w{1,40}):? +(\d{1,15})(?: kB)?$/gm)].slice(0, MAX_RAW);
  return Object.fromEntries(lines.map(([, name = '', value]) => [name, Number(value)]));
}

interface BlkioEntry {
  major: number;
  minor: number;
  op: string;
  value: number;
}

/** Lines of `major:minor rbytes=1 wbytes=2 rios=3 wios=4 ...` (cgroup-v2.rst, `io.stat`). */
function blkio(text: string): Record<string, BlkioEntry[]> {
  const devices = [...text.matchAll(/^(\d{1,5}):(\d{1,7}) (.*)$/gm)].slice(0, MAX_OTHERS);
  const list = (names: Record<string, string>) =>
    devices.flatMap(([, major, minor, fields = '']) =>
      Object.entries(names).map(([op, name]) => {
        const value = Number(new RegExp(`\\b${name}=(\\d{1,15})\\b`).exec(fields)?.[1] ?? 0);
        return { major: Number(major), minor: Number(minor), op, value };
      }),
    );
  if (devices.length === 0) return {};
  return {
    ioServiceBytesRecursive: list({ Read: 'rbytes', Write: 'wbytes' }),
    ioServicedRecursive: list({ Read: 'rios', Write: 'wios' }),
  };
}

/** The interfaces but the loopback (proc(5), /proc/net/dev). Null: there are none, as runc has it. */
function interfaces(text: string): object[] | null {
  const lines = [...text.matchAll(/^ *([\w.-]{1,15}): *((?:\d{1,15} *){16})$/gm)].filter(([, name]) => name !== 'lo');
  if (lines.length === 0) return null;
  return lines.slice(0, MAX_OTHERS).map(([, Name, numbers = '']) => {
    const at = numbers.trim().split(/ +/).map(Number);
    return {
      Name,
      ...{ RxBytes: at[0], RxPackets: at[1], RxErrors: at[2], RxDropped: at[3] },
      ...{ TxBytes: at[8], TxPackets: at[9], TxErrors: at[10], TxDropped: at[11] },
    };
  });
}
