// The keeper of one machine, a process that `tsvm-oci create` starts: reads the configuration, tells what
// the stub has to be (a plan of lines over file descriptor 3), boots the machine, and starts the container
// when it is told to. It ends with `delete`. As `poststop`, it runs the hooks of a container that is gone.
import '../../libc/no-debugger.js';

import { Socket } from 'node:net';
import { engineText } from '../config/oci-error.js';
import { runPoststop } from './hooks.js';
import { Keeper } from './keeper.js';
import { readLines } from './lines.js';

const CALLER_FD = 3;

const [, , call = '', state = '', id = '', bundle = '', console = ''] = process.argv;
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
  const keeper = new Keeper(id, bundle);
  // A caller that dies before the container exists leaves nothing.
  caller.on('close', () => keeper.isCreated || keeper.end());
  const plan = await keeper.plan(console !== '');
  readLines(caller, (line) => {
    const [word, pid] = line.split(' ');
    if (word === 'hooks') {
      keeper.runHooks(Number(pid)).then(
        () => caller.write('ok\n'),
        (error) => caller.write(`error ${engineText(error)}\n`),
      );
    } else if (word === 'created') {
      try {
        keeper.created(Number(pid));
        caller.write('ok\n');
      } catch (error) {
        caller.write(`error ${engineText(error)}\n`);
      }
    }
  });
  caller.write([...plan, 'done', ''].join('\n'));
}

async function poststop(): Promise<void> {
  // A `delete` after one that was killed runs the hooks again.
  const gone = new AbortController();
  caller.on('close', () => gone.abort()).resume();
  await runPoststop(gone.signal, (text) => caller.write(`warning ${text}\n`));
  if (gone.signal.aborted) process.exit(1);
  caller.end('ok\n', () => process.exit(0));
}
