// The keeper of one machine, a process that `tsvm-oci create` starts: reads the configuration, tells what
// the stub has to be (a plan of lines over file descriptor 3), boots the machine, and starts the container
// when it is told to. It ends with the machine. As `poststop`, it runs the hooks of a container
// that is gone.
import '../../libc/no-debugger.js';

import { symlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { readConfig } from '../config/config.js';
import { engineText } from '../config/oci-error.js';
import { runPoststop } from './hooks.js';
import { Keeper } from './keeper.js';
import { readLines } from './lines.js';
import { findPod } from './pod.js';

const CALLER_FD = 3;

const [, , call = '', state = '', name = '', bundle = '', console = '', systemd = ''] = process.argv;
const caller = new Socket({ fd: CALLER_FD, readable: true, writable: true });
caller.on('error', () => {});

try {
  process.chdir(state);
  if (call === 'poststop') await poststop();
  else await create();
} catch (error) {
  caller.end(`error ${engineText(error)}\n`, () => process.exit(1));
}

async function create(): Promise<void> {
  const network = readConfig(bundle).linux.namespaces?.find(({ type }) => type === 'network')?.path;
  const pod = await findPod(state, network || undefined);
  if (pod !== undefined) {
    // The keeper of that machine keeps this container too.
    symlinkSync(pod, 'pod');
    caller.end('join\ndone\n', () => process.exit(0));
    return;
  }
  // The state folder is removed before this process ends if other containers are in the machine.
  process.chdir('/');
  const keeper = await Keeper.make({ name, bundle, state, systemd: systemd !== '' });
  readLines(caller, (line) => void keeper.hear(caller, line));
  await keeper.create(caller, console !== '');
}

async function poststop(): Promise<void> {
  // A `delete` after one that was killed runs the hooks again.
  const gone = new AbortController();
  caller.on('close', () => gone.abort()).resume();
  await runPoststop(gone.signal, (text) => caller.write(`warning ${text}\n`));
  if (gone.signal.aborted) process.exit(1);
  caller.end('ok\n', () => process.exit(0));
}
