// The command line of the launcher of jails (jail/) for a machine process.
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { findProgram } from '../../vmm/host/find-program.js';
import { JAIL_LAUNCHER } from '../programs.js';

/** What a machine process needs of a jail before it starts. */
export interface JailNeeds {
  /** The machine has shares: as root, it keeps the capabilities of a file server. */
  hasShares: boolean;
  /** The relay of the machine connects by TCP in the host's network. */
  hostNetwork: boolean;
  /** Descriptors of the shares, where landlock alone confines files. */
  shares: readonly number[];
}

export const NO_NEEDS: JailNeeds = { hasShares: false, hostNetwork: false, shares: [] };

/** The first descriptor of the launcher that is not the machine's: for its report. */
export const REPORT_FD = 5;

/**
 * What root's file server uses: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETGID, CAP_SETUID,
 * CAP_SETPCAP, CAP_SETFCAP.
 */
const FILE_SERVER = [0, 1, 3, 4, 6, 7, 8, 31].reduce((bits, each) => bits + 2 ** each, 0);

const LIBRARIES = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib', '/etc/ld.so.cache'];
const DEVICES = ['null', 'zero', 'random', 'urandom'];
/** QEMU, its data, and the program that starts it. */
const EMULATOR = ['qemu-system-x86_64', 'setpriv'];
const EMULATOR_DATA = ['/usr/share/qemu', '/usr/share/seabios'];

/** True if this installation has a launcher: it needs a C compiler to be built. */
export function hasLauncher(): boolean {
  return existsSync(JAIL_LAUNCHER);
}

/** The command line that starts a program of Node.js in a jail, with descriptors 3 and 4. */
export function jailedCommand(program: string, words: readonly string[], needs: JailNeeds): string[] {
  const { hasShares, hostNetwork, shares } = needs;
  const option = (name: string, values: readonly (string | number)[]) =>
    values.flatMap((value) => [name, String(value)]);
  const node = realpathSync(process.execPath);
  const isRoot = process.getuid?.() === 0;
  return [
    JAIL_LAUNCHER,
    ...option('--report', [REPORT_FD]),
    ...option('--keep', [3, 4]),
    // Node.js would read OpenSSL's configuration, and ends if it may not.
    ...option('--env', [`PATH=${process.env.PATH ?? ''}`, 'OPENSSL_CONF=/dev/null']),
    ...option('--read', [...LIBRARIES, node, ...programFiles(program), ...emulatorFiles()]),
    ...option('--device', DEVICES),
    ...option('--network', hostNetwork ? ['host'] : []),
    ...option(
      '--write',
      shares.map((_, index) => REPORT_FD + 1 + index),
    ),
    ...(isRoot && hasShares ? option('--capabilities', [FILE_SERVER.toString(16)]) : []),
    ...['--', node, realpathSync(program), ...words],
  ];
}

/** The folder of the program, the package file that says what its modules are, and koffi. */
function programFiles(program: string): string[] {
  const folder = realpathSync(dirname(program));
  const modules = dirname(dirname(createRequire(import.meta.url).resolve('koffi')));
  return [folder, join(dirname(folder), 'package.json'), join(modules, 'koffi'), join(modules, '@koromix')];
}

function emulatorFiles(): string[] {
  const programs = EMULATOR.map(findProgram).filter((path) => path !== undefined);
  return [...new Set(programs.flatMap((path) => [path, realpathSync(path)])), ...EMULATOR_DATA];
}
