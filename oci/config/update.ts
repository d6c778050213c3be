// What `update` changes of a running container: the limits of its cgroup in the machine, whose size stays.
import { z } from 'zod';
import type { Limits } from '../../sandbox/agent/protocol.js';
import { readBytes } from './bytes.js';
import { type OciResources, resourcesSchema } from './config.js';
import { OciError } from './oci-error.js';
import { refuseResources } from './refused.js';

const WORDS = [
  'memory',
  'pids-limit',
  'cpu-quota',
  'cpu-period',
  'cpu-rt-runtime',
  'cpu-rt-period',
  'cpuset-cpus',
  'cpuset-mems',
] as const;
const words = z.partialRecord(z.enum(WORDS), z.string());

const request = z.object({ words, resources: resourcesSchema.optional() });

/** What no limit can be above. */
export interface MachineSize {
  /** Bytes of the largest limit. */
  memory: number;
  cpus: number;
}

/** The kernel's, in microseconds (cgroup-v2.rst, `cpu.max`). */
const DEFAULT_PERIOD = 100_000;
const PERIODS = { least: 1000, most: 1_000_000 };
const LEAST_QUOTA = 1000;
/** The kernel's (`PID_MAX_LIMIT`). */
const MOST_PROCESSES = 2 ** 22;

/**
 * @param text what the command `tsvm-oci` sent, JSON
 * @throws OciError
 */
export function readUpdate(text: string): OciResources {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new OciError('update: the resources are no JSON');
  }
  const { data, error } = request.safeParse(value);
  if (data === undefined) {
    const [issue] = error.issues;
    throw new OciError(`update: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { words: given, resources = {} } = data;
  const all: OciResources = {
    ...resources,
    memory: { ...resources.memory, ...numbers(given, { limit: 'memory' }) },
    cpu: {
      ...resources.cpu,
      ...numbers(given, { quota: 'cpu-quota', period: 'cpu-period' }),
      ...numbers(given, { realtimeRuntime: 'cpu-rt-runtime', realtimePeriod: 'cpu-rt-period' }),
      ...(given['cpuset-cpus'] && { cpus: given['cpuset-cpus'] }),
      ...(given['cpuset-mems'] && { mems: given['cpuset-mems'] }),
    },
    pids: { limit: 0, ...resources.pids, ...numbers(given, { limit: 'pids-limit' }) },
  };
  refuseResources(all);
  return all;
}

/** The numbers that are given, by the names of the fields. Only memory has units. */
function numbers<Field extends string>(
  given: z.infer<typeof words>,
  fields: Record<Field, (typeof WORDS)[number]>,
): Partial<Record<Field, number>> {
  const found: Partial<Record<Field, number>> = {};
  for (const field in fields) {
    const name = fields[field];
    const text = given[name];
    if (text === undefined) continue;
    const isNumber = /^(?:-1|[0-9]{1,15})$/.test(text);
    const value = isNumber ? Number(text) : name === 'memory' ? readBytes(text.replace(/b$/i, '')) : Number.NaN;
    if (Number.isNaN(value)) throw new OciError(`update: --${name} ${text} is not understood`);
    found[field] = value;
  }
  return found;
}

/**
 * The limits after an update. As with runc, 0 leaves a limit alone, and -1 takes it away.
 * @param limits 0 or absent: none
 * @throws OciError for what the machine does not have
 */
export function updatedLimits(
  limits: Limits,
  { memory, cpu, pids }: OciResources,
  size: MachineSize,
): Required<Limits> {
  const updated = (before = 0, given = 0) => (given === 0 ? before : Math.max(given, 0));
  const after = {
    memory: updated(limits.memory, memory?.limit),
    pids: updated(limits.pids, pids?.limit),
    cpuQuota: updated(limits.cpuQuota, cpu?.quota),
    cpuPeriod: updated(limits.cpuPeriod, cpu?.period) || DEFAULT_PERIOD,
  };
  for (const [name, value] of Object.entries(after)) {
    if (!Number.isSafeInteger(value)) throw new OciError(`update: ${name} ${value} is not understood`);
  }
  if (limits.memory && after.memory === 0) {
    throw new OciError('update: the memory limit cannot be taken away: the machine of the container has its size');
  }
  // Engines give all limits again, those too that a configuration may have. A cgroup above may have
  // left the machine less.
  if (after.memory > size.memory && after.memory !== limits.memory) {
    throw new OciError(
      `update: a memory limit of ${after.memory} bytes is above what the machine of the container has: ${size.memory}; the annotation dev.tsvm.memory sizes it`,
    );
  }
  if (after.cpuPeriod < PERIODS.least || after.cpuPeriod > PERIODS.most) {
    throw new OciError(`update: a CPU period is ${PERIODS.least} to ${PERIODS.most} microseconds`);
  }
  if (after.cpuQuota > 0 && after.cpuQuota < LEAST_QUOTA) {
    throw new OciError(`update: a CPU quota is at least ${LEAST_QUOTA} microseconds`);
  }
  if (after.pids > MOST_PROCESSES) throw new OciError(`update: a limit of processes is at most ${MOST_PROCESSES}`);
  // So it is with CPUs.
  const isSame = after.cpuQuota === limits.cpuQuota && after.cpuPeriod === (limits.cpuPeriod || DEFAULT_PERIOD);
  if (!isSame && after.cpuQuota > size.cpus * after.cpuPeriod) {
    const cpus = after.cpuQuota / after.cpuPeriod;
    throw new OciError(`update: a limit of ${cpus} CPUs is above what the machine of the container has: ${size.cpus}`);
  }
  return after;
}

/** The words of the agent's tool `limit`. */
export function limitWords({ memory, pids, cpuQuota, cpuPeriod }: Limits): string[] {
  const text = (value: number | undefined) => String(value || 'max');
  const cpu = `${text(cpuQuota)} ${cpuPeriod || DEFAULT_PERIOD}`;
  return ['memory.max', text(memory), 'pids.max', text(pids), 'cpu.max', cpu];
}
