// The kernel of a container on User-Mode Linux, and the processes of its programs, are on one processor
// of the host.
import { expect, test } from 'vitest';
import { DEBIAN, run, TSVM, uml } from './machine.js';

/** Prints the processors of each of them, once all have the same one. Waits at most 100 s. */
const ONE = `
  machine=$("$TSVM" inspect -f '{{.State.Pid}}' "$NAME")
  owner=$(ps -o ppid= -p $(ps -o ppid= -p $machine))
  for _ in $(seq 1000); do
    # Below the owner is the launcher, below that the kernel, and below that its processes.
    kernel=$(pgrep -P "$(pgrep -P $owner -d, tsvm-jail)" -f 'mem=')
    list=$(for pid in $kernel $(pgrep -P "$kernel"); do grep Cpus_allowed_list "/proc/$pid/status"; done | sort | uniq -c)
    if [[ $list =~ ^\\ *([3-9]|[1-9][0-9]+)\\ Cpus_allowed_list:[[:space:]][0-9]+$ ]]; then echo one; exit; fi
    sleep 0.1
  done
  echo "$list"`;

test('one processor', async () => {
  const NAME = `processor-${process.pid}`;
  const words = ['run', '-d', '--name', NAME, '--network', 'none', DEBIAN, 'sh', '-c', 'sleep 1000 & sleep 1000'];
  try {
    expect(await run(uml, [TSVM, ...words])).toMatchObject({ code: 0, stderr: '' });
    expect((await run(uml, ['bash', '-c', ONE], { env: { NAME, TSVM } })).stdout).toBe('one\n');
  } finally {
    await run(uml, [TSVM, 'rm', '-f', NAME]);
  }
});
