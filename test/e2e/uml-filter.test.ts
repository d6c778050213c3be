// The kernel of a container on User-Mode Linux, and the processes of its programs, have the filter of
// system calls that inspect names.
import { expect, test } from 'vitest';
import { DEBIAN, run, TSVM, uml } from './machine.js';

/** Prints what inspect says, and the modes of seccomp(2) of the kernel and its processes. */
const MODES = `
  "$TSVM" inspect -f '{{.State.Jail.companion.seccomp}}' "$NAME"
  machine=$("$TSVM" inspect -f '{{.State.Pid}}' "$NAME")
  owner=$(ps -o ppid= -p $(ps -o ppid= -p $machine))
  # Below the owner is the launcher, below that the kernel, and below that its processes.
  kernel=$(pgrep -P "$(pgrep -P $owner -d, tsvm-jail)" -f 'mem=')
  for pid in $kernel $(pgrep -P "$kernel"); do grep '^Seccomp:' "/proc/$pid/status"; done | cut -f2 | sort -u`;

const [NONE, FILTER] = ['0', '2'];

test.each([
  ['kill', 'refuse', FILTER],
  ['log', 'log', FILTER],
  ['off', 'off', NONE],
])('TSVM_SECCOMP=%s: %s', async (variable, said, mode) => {
  const NAME = `filter-${variable}-${process.pid}`;
  const words = ['run', '-d', '--name', NAME, '--network', 'none', DEBIAN, 'sleep', '1000'];
  try {
    expect(await run(uml, [TSVM, ...words], { env: { TSVM_SECCOMP: variable } })).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect(await run(uml, ['bash', '-c', MODES], { env: { NAME, TSVM } })).toMatchObject({
      stdout: `${said}\n${mode}\n`,
    });
  } finally {
    await run(uml, [TSVM, 'rm', '-f', NAME]);
  }
});
