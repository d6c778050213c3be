// The options of what a container may use and may do, with Docker's names and forms.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import {
  type DeviceRate,
  parseSeccompProfile,
  type Rlimit,
  type RunSpec,
  type SeccompProfile,
} from '../../sandbox/internal.js';
import { collect } from './command.js';
import { UsageError } from './failure.js';
import { parseSize } from './size.js';

/** As commander gives them. */
export interface LimitOptions {
  cpus?: number;
  memory?: number;
  disk?: number;
  deviceReadBps?: DeviceRate[];
  deviceWriteBps?: DeviceRate[];
  deviceReadIops?: DeviceRate[];
  deviceWriteIops?: DeviceRate[];
  pidsLimit?: number;
  ulimit?: string[];
  shmSize?: number;
  groupAdd?: string[];
  capAdd?: string[];
  capDrop?: string[];
  securityOpt?: string[];
  sysctl?: string[];
  privileged?: boolean;
  init?: boolean;
}

/** The fields of a run spec that these options stand for. */
export type LimitFields = Pick<
  RunSpec,
  | 'cpus'
  | 'memory'
  | 'disk'
  | 'deviceRates'
  | 'pidsLimit'
  | 'ulimits'
  | 'shmSize'
  | 'groupAdd'
  | 'capAdd'
  | 'capDrop'
  | 'noNewPrivileges'
  | 'seccomp'
  | 'sysctls'
  | 'privileged'
  | 'init'
>;

/** Adds the options to a command that makes a container. */
export function addLimitOptions(command: Command): Command {
  const size = (option: string) => (text: string) => parseSize(text, option);
  const bytes = (of: DeviceRate['of'], option: string) => collectRates(of, (text) => parseSize(text, option), option);
  const count = (of: DeviceRate['of'], option: string) =>
    collectRates(of, (text) => parseInteger(text, option), option);
  return command
    .option('--cpus <N>', 'number of CPUs, 0.01 to 64, fractions too (default: 1)', parseCpus)
    .option('-m, --memory <SIZE>', 'memory, at least 64m (default: 512m)', size('--memory'))
    .option('--disk <SIZE>', 'write to a disk of this size, not to memory', size('--disk'))
    .option(
      '--device-read-bps <[DEV:]RATE>',
      'bytes that a disk reads in a second',
      bytes('readBytes', '--device-read-bps'),
    )
    .option('--device-write-bps <[DEV:]RATE>', 'bytes that it writes', bytes('writeBytes', '--device-write-bps'))
    .option('--device-read-iops <[DEV:]RATE>', 'its reads in a second', count('readOperations', '--device-read-iops'))
    .option('--device-write-iops <[DEV:]RATE>', 'its writes', count('writeOperations', '--device-write-iops'))
    .option('--pids-limit <N>', 'most processes and threads, -1 for no limit', (text) =>
      parseInteger(text, '--pids-limit'),
    )
    .option('--ulimit <NAME=SOFT[:HARD]>', 'resource limit: nofile, nproc, core, stack, ...', collect)
    .option('--shm-size <SIZE>', 'size of /dev/shm (default: 64m)', size('--shm-size'))
    .option('--group-add <GROUP>', 'a further group of the user, name or number', collect)
    .option('--cap-add <NAME>', 'add a Linux capability, or ALL', collect)
    .option('--cap-drop <NAME>', 'drop a Linux capability, or ALL', collect)
    .option('--security-opt <OPTION>', 'no-new-privileges, seccomp=FILE, seccomp=unconfined', collect)
    .option('--privileged', 'all capabilities and devices, and a kernel that may be changed')
    .option('--sysctl <NAME=VALUE>', 'set a kernel parameter', collect)
    .option('--init', 'run an init as process 1, which hands signals on and reaps');
}

/** @throws UsageError */
export function toLimits(options: LimitOptions): LimitFields {
  const { cpus, memory, disk, pidsLimit, shmSize, groupAdd, capAdd, capDrop, privileged, init } = options;
  const { ulimit, sysctl, securityOpt = [] } = options;
  const fields: LimitFields = { cpus, memory, disk, pidsLimit, shmSize, groupAdd, capAdd, capDrop, privileged, init };
  const { deviceReadBps = [], deviceWriteBps = [], deviceReadIops = [], deviceWriteIops = [] } = options;
  const deviceRates = [...deviceReadBps, ...deviceWriteBps, ...deviceReadIops, ...deviceWriteIops];
  if (deviceRates.length > 0) fields.deviceRates = deviceRates;
  if (ulimit !== undefined) fields.ulimits = ulimit.map(parseUlimit);
  if (sysctl !== undefined) fields.sysctls = Object.fromEntries(sysctl.map(parseSysctl));
  for (const option of securityOpt) Object.assign(fields, parseSecurityOption(option));
  return fields;
}

/** For options with a rate of one disk (`/dev/vda:1mb`) or of each (`1mb`), any number of them. */
function collectRates(of: DeviceRate['of'], parse: (text: string) => number, option: string) {
  return (text: string, previous: DeviceRate[] = []): DeviceRate[] => {
    const [, device, rate] = /^(?:(\/[^:]*):)?(.*)$/s.exec(text)!;
    const parsed = parse(rate);
    if (parsed < 1) throw new UsageError(`invalid argument '${text}' for ${option}: a rate of at least 1`);
    return [...previous, { device, of, rate: parsed }];
  };
}

/** @throws UsageError */
function parseSysctl(text: string): [name: string, value: string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw new UsageError(`invalid argument '${text}' for --sysctl: NAME=VALUE is needed`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

function parseCpus(text: string): number {
  if (!/^-?\d+(\.\d+)?$/.test(text))
    throw new UsageError(`invalid argument '${text}' for --cpus: a number such as 1.5`);
  return Number(text);
}

function parseInteger(text: string, option: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw new UsageError(`invalid argument '${text}' for ${option}: a whole number`);
  return Number(text);
}

/**
 * `nofile=1024:4096`, `core=0` (soft and hard), `memlock=-1` or `memlock=unlimited` (docker/go-units, ParseUlimit).
 * @throws UsageError
 */
export function parseUlimit(text: string): Rlimit {
  const match = /^([a-z]+)=(-1|unlimited|\d+)(?::(-1|unlimited|\d+))?$/.exec(text);
  if (match === null) {
    throw new UsageError(`invalid argument '${text}' for --ulimit: NAME=SOFT[:HARD] such as nofile=1024:4096`);
  }
  const [, name, soft, hard = soft] = match;
  const value = (word: string) => (word === '-1' || word === 'unlimited' ? 'unlimited' : Number(word));
  return { name: name as Rlimit['name'], soft: value(soft), hard: value(hard) };
}

/**
 * `no-new-privileges`, alone or with a boolean, and `seccomp=`; with `=` or `:`, as Docker takes them.
 * @throws UsageError
 */
function parseSecurityOption(text: string): Partial<LimitFields> {
  const [, name, value] = /^([^=:]*)(?:[=:](.*))?$/s.exec(text)!;
  if (name === 'no-new-privileges' && [undefined, 'true', 'false'].includes(value)) {
    return { noNewPrivileges: value !== 'false' };
  }
  if (name === 'seccomp' && value) return { seccomp: value === 'unconfined' ? undefined : readProfile(value) };
  throw new UsageError(`invalid --security-opt '${text}': no-new-privileges and seccomp=FILE are possible`);
}

function readProfile(file: string): SeccompProfile {
  let json: string;
  try {
    json = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`cannot read seccomp profile ${file}: ${(error as Error).message}`);
  }
  return parseSeccompProfile(json);
}
