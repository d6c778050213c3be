// The command line of the launcher of jails (jail/) for a machine process.
import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { JAIL_LAUNCHER, LIBRARIES, option, programFiles, userOptions } from '../../jail/launcher.js';
import type { BpfInstruction } from '../../seccomp/bpf.js';

/** What a machine process needs of a jail before it starts. */
export interface JailNeeds {
  /** The machine has shares: as root, it keeps the capabilities of a file server. */
  hasShares: boolean;
  /** The shares, where landlock alone confines files. */
  shares: readonly SharedFile[];
}

export interface SharedFile {
  fd: number;
  isReadOnly: boolean;
}

export const NO_NEEDS: JailNeeds = { hasShares: false, shares: [] };

/** The first descriptor of the launcher that is not the machine's: for its report. */
export const REPORT_FD = 5;

/**
 * What root's file server uses: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETGID, CAP_SETUID,
 * CAP_SETPCAP, CAP_SETFCAP.
 */
const FILE_SERVER = [0, 1, 3, 4, 6, 7, 8, 31].reduce((bits, each) => bits + 2 ** each, 0);

const DEVICES = ['null', 'zero', 'random', 'urandom'];

/** The command line that starts a program of Node.js in a jail, with descriptors 3 and 4. */
export function jailedCommand(program: string, words: readonly string[], needs: JailNeeds): string[] {
  const { hasShares, shares } = needs;
  const node = realpathSync(process.execPath);
  const isRoot = process.getuid?.() === 0;
  return [
    JAIL_LAUNCHER,
    ...userOptions(),
    ...option('--report', [REPORT_FD]),
    ...option('--keep', [3, 4]),
    // Node.js would read OpenSSL's configuration, and ends if it may not.
    ...option('--env', ['OPENSSL_CONF=/dev/null']),
    ...option('--read', [...LIBRARIES, node, ...modulesOf(program)]),
    ...option('--device', DEVICES),
    ...shares.flatMap(({ isReadOnly }, index) => option(isReadOnly ? '--open' : '--write', [REPORT_FD + 1 + index])),
    ...(isRoot && hasShares ? option('--capabilities', [FILE_SERVER.toString(16)]) : []),
    ...['--', node, realpathSync(program), ...words],
  ];
}

/** The folder of the program, with all its files, and the package file, for which Node.js looks. */
function modulesOf(program: string): string[] {
  const folder = realpathSync(dirname(program));
  return [folder, join(dirname(folder), 'package.json')];
}

/** A program that a machine needs beside its process. */
export interface CompanionProgram {
  /** What a person calls it. */
  name: string;
  /** Its path. */
  path: string;
  args: readonly string[];
  /** Files and folders that it reads, beside its own and the libraries. */
  readable?: readonly string[];
  /** Names in /dev. */
  devices?: readonly string[];
  /** What it may ask of the kernel: also execve, for the launcher. Absent: everything. */
  filter?: readonly BpfInstruction[];
  /** What it writes to stderr when the filter refuses a call that it does without. */
  complaint?: string;
  /** Its whole environment. */
  environment?: Readonly<Record<string, string>>;
  /** Bytes that it may write to files of its own in {@link SCRATCH}, which it may execute. */
  scratch?: number;
  /** The most bytes of its stack, and of those of its processes. */
  stack?: number;
  /** The most processes and threads that it may have. */
  processes: number;
  /** Its addresses are those that its file names (personality(2), ADDR_NO_RANDOMIZE). */
  hasFixedAddresses?: boolean;
}

/** The folder for files of a companion's own. */
export const SCRATCH = '/dev/shm';

/** ADDR_NO_RANDOMIZE, in hexadecimal. */
const FIXED_ADDRESSES = '40000';

/** Descriptors of a companion: the one at which its launcher waits, and the first of its own. */
export const START_FD = 3;
export const FIRST_COMPANION_FD = 4;

/**
 * The command line that starts a companion in a jail, with this many descriptors of its own. After
 * them come the launcher's report, and the file of the filter.
 */
export function jailedCompanion(companion: CompanionProgram, count: number): string[] {
  const { path, args, readable = [], devices = [], environment = {}, scratch, stack, processes, filter } = companion;
  const kept = Array.from({ length: count }, (_, index) => FIRST_COMPANION_FD + index);
  return [
    JAIL_LAUNCHER,
    ...userOptions(),
    ...option('--start', [START_FD]),
    ...option('--report', [FIRST_COMPANION_FD + count]),
    ...option('--filter', filter === undefined ? [] : [FIRST_COMPANION_FD + count + 1]),
    ...option('--keep', kept),
    ...option('--read', [...LIBRARIES, ...programFiles([path]), ...readable]),
    ...option('--device', devices),
    ...option('--scratch', scratch === undefined ? [] : [scratch]),
    ...option('--stack', stack === undefined ? [] : [stack]),
    ...option('--processes', [processes]),
    ...option('--personality', companion.hasFixedAddresses === true ? [FIXED_ADDRESSES] : []),
    ...option(
      '--env',
      Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    ),
    ...['--', path, ...args],
  ];
}

/** The command line that starts a companion without a jail. It ends with the process that starts it. */
export function freeCompanion({ path, args, environment = {}, hasFixedAddresses }: CompanionProgram): string[] {
  const script = `IFS= read -r _ <&${START_FD} && exec ${START_FD}<&- && exec "$@"`;
  const words = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  return [
    ...['/bin/sh', '-c', script, 'sh', 'env', ...words, 'setpriv', '--pdeathsig', 'KILL'],
    ...(hasFixedAddresses === true ? ['setarch', '--addr-no-randomize'] : []),
    ...[path, ...args],
  ];
}
