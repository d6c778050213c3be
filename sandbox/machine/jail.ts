// The command line of the launcher of jails (jail/) for a machine process.
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { JAIL_LAUNCHER, LIBRARIES, option, programFiles } from '../../jail/launcher.js';
import { findProgram } from '../../programs/index.js';

/** What a machine process needs of a jail before it starts. */
export interface JailNeeds {
  /** The machine has shares: as root, it keeps the capabilities of a file server. */
  hasShares: boolean;
  /** Descriptors of the shares, where landlock alone confines files. */
  shares: readonly number[];
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
/** QEMU, its data, and the program that starts it. */
const EMULATOR = ['qemu-system-x86_64', 'setpriv'];
const EMULATOR_DATA = ['/usr/share/qemu', '/usr/share/seabios'];

/** The command line that starts a program of Node.js in a jail, with descriptors 3 and 4. */
export function jailedCommand(program: string, words: readonly string[], needs: JailNeeds): string[] {
  const { hasShares, shares } = needs;
  const node = realpathSync(process.execPath);
  const isRoot = process.getuid?.() === 0;
  return [
    JAIL_LAUNCHER,
    ...option('--report', [REPORT_FD]),
    ...option('--keep', [3, 4]),
    // Node.js would read OpenSSL's configuration, and ends if it may not.
    ...option('--env', [`PATH=${process.env.PATH ?? ''}`, 'OPENSSL_CONF=/dev/null']),
    ...option('--read', [...LIBRARIES, node, ...modulesOf(program), ...emulatorFiles()]),
    ...option('--device', DEVICES),
    ...option(
      '--write',
      shares.map((_, index) => REPORT_FD + 1 + index),
    ),
    ...(isRoot && hasShares ? option('--capabilities', [FILE_SERVER.toString(16)]) : []),
    ...['--', node, realpathSync(program), ...words],
  ];
}

/** The folder of the program, the package file that says what its modules are, and koffi. */
function modulesOf(program: string): string[] {
  const folder = realpathSync(dirname(program));
  const modules = dirname(dirname(createRequire(import.meta.url).resolve('koffi')));
  return [folder, join(dirname(folder), 'package.json'), join(modules, 'koffi'), join(modules, '@koromix')];
}

function emulatorFiles(): string[] {
  const programs = EMULATOR.map(findProgram).filter((path) => path !== undefined);
  return [...programFiles(programs), ...EMULATOR_DATA];
}
