// A host that keeps the process of a machine waiting for seconds at a time makes the machine slow.
// It does not end it, and takes nothing of its output.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { DEBIAN, run, TSVM, uml } from './machine.js';

/** Milliseconds. A guest's kernel gives a connection to the host up after 2000 by default. */
const STANDS = 2300;
const RUNS = 60;

/** Prints the machine process of the run $1, once it is there: below the launcher of its jail. */
const FIND = `
  until machine=$(for each in $(pgrep -P "$1" tsvm-jail); do pgrep -P "$each" node; done) && [ -n "$machine" ]; do
    kill -0 "$1" || exit; sleep 0.01
  done
  echo "$machine"`;

test('a machine whose process stands still most of the time starts, and its output is whole', async () => {
  const script = `echo $$; exec "$TSVM" run --rm --network none ${DEBIAN} sh -c 'echo out; echo err >&2; exit 3'`;
  const command = uml.spawn(['sh', '-c', script], { env: { TSVM } });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    command[name].setEncoding('utf8').on('data', (text) => {
      said[name] += text;
    });
  }
  let ended = false;
  const exit = command.exit.finally(() => {
    ended = true;
  });
  while (!said.stdout.includes('\n')) await sleep(5);
  const owner = said.stdout.trim();
  const machine = Number((await run(uml, ['bash', '-c', FIND, 'bash', owner])).stdout);
  expect(machine).toBeGreaterThan(0);
  const signal = (name: NodeJS.Signals) => {
    try {
      process.kill(machine, name);
    } catch {
      // It has ended.
    }
  };
  while (!ended) {
    signal('SIGSTOP');
    await Promise.race([exit, sleep(STANDS)]);
    signal('SIGCONT');
    await Promise.race([exit, sleep(RUNS)]);
  }
  expect({ code: await exit, ...said }).toEqual({ code: 3, stdout: `${owner}\nout\n`, stderr: 'err\n' });
});
