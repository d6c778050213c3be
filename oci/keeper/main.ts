// The keeper of one machine, a process that `tsvm-oci create` starts: reads the configuration, tells what
// the stub has to be (a plan of lines over file descriptor 3), boots the machine, and starts the container
// when it is told to. It ends with `delete`.
import '../../libc/no-debugger.js';

import { Socket } from 'node:net';
import { engineText } from '../config/oci-error.js';
import { Keeper } from './keeper.js';
import { readLines } from './lines.js';

const CREATOR_FD = 3;

const [, , state = '', id = '', bundle = '', console = ''] = process.argv;
const creator = new Socket({ fd: CREATOR_FD, readable: true, writable: true });
creator.on('error', () => {});

try {
  process.chdir(state);
  const keeper = new Keeper(id, bundle);
  const plan = await keeper.plan(console !== '');
  readLines(creator, (line) => {
    if (!line.startsWith('created ')) return;
    keeper.created();
    creator.write('ok\n');
  });
  creator.write([...plan, 'done', ''].join('\n'));
  // A caller that dies before the container exists leaves nothing.
  creator.on('close', () => keeper.isCreated || keeper.end());
} catch (error) {
  creator.end(`error ${engineText(error)}\n`, () => process.exit(1));
}
