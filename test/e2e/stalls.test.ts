// Nothing waits without an end: not for a guest that stands still, not for a reader that is gone.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { Sandbox } from '../../sandbox/sandbox.js';
import { DEBIAN, fastest, type Machine, readUntil, run, TSVM } from './machine.js';

const NAME = 'stalls';
const STILL = /^tsvm: the guest has (not answered|moved no byte) in 30 s: [^\n]*\n$/;
/** Opens connections to the agent's port on the host, and keeps them. */
const FLOOD = `use Socket; $| = 1; my @kept;
  for (1 .. 600) {
    socket(my $s, 40, SOCK_STREAM, 0) or do { print "no socket: $!\\n"; last };
    connect($s, pack("S S L L C x3", 40, 0, 1024, 2, 0)) and push @kept, $s;
  }
  print "open ", scalar(@kept), "\\n"; sleep 1000;`;

const tsvm = (machine: Machine, ...words: string[]) => run(machine, [TSVM, ...words]);
const shell = (machine: Machine, script: string) =>
  run(machine, ['bash', '-c', script], { env: { TSVM, NAME, IMAGE: DEBIAN } });

describe.each(fastest)('on $name', (machine) => {
  beforeAll(async () => {
    const script = 'dd if=/dev/zero of=/big bs=1M count=64 status=none; seq 100000; echo ready; exec sleep 1000';
    await tsvm(machine, 'run', '-d', '--name', NAME, DEBIAN, 'sh', '-c', script);
    await shell(machine, `until "$TSVM" logs -n 1 ${NAME} | grep -q ready; do sleep 0.1; done`);
  });

  afterAll(() => tsvm(machine, 'rm', '-f', NAME));

  test.each([
    ['logs -f', '"$TSVM" logs -f "$NAME" | head -n 3', '1\n2\n3\n'],
    ['logs -f of what is to come', '"$TSVM" logs -f -n 0 "$NAME" | head -n 0', ''],
    ['stats', '"$TSVM" stats --format x "$NAME" | head -n 2', 'x\nx\n'],
    ['attach', '"$TSVM" attach "$NAME" | head -n 0', ''],
    ['exec', '"$TSVM" exec "$NAME" yes | head -n 1', 'y\n'],
    [
      'exec of a process that ignores that its reader is gone',
      `"$TSVM" exec "$NAME" sh -c 'trap "" PIPE; while :; do echo y; sleep 0.1; done 2>&-' | head -n 1`,
      'y\n',
    ],
    ['cp', '"$TSVM" cp "$NAME:/big" - | head -c 1000 | wc -c', '1000\n'],
  ])('%s ends with its reader', async (_, script, wanted) => {
    const { stdout } = await shell(machine, `${script}; echo "code \${PIPESTATUS[0]}"`);
    // yes(1) sees EPIPE, or is killed by SIGPIPE.
    expect(stdout).toMatch(new RegExp(`^${wanted}code (1|141)\\n$`));
  });

  test('attach ends with its reader when the container writes, and the container goes on', async () => {
    const writer = await tsvm(
      machine,
      'run',
      '-di',
      '--network',
      'none',
      DEBIAN,
      'sh',
      '-c',
      'while echo y; do sleep 0.1; done',
    );
    const id = writer.stdout.trim();
    const { stdout } = await shell(
      machine,
      `"$TSVM" attach ${id} < <(exec tail --pid=$$ -f /dev/null) | head -n 1; echo "\${PIPESTATUS[0]}"`,
    );
    expect(stdout).toBe('y\n141\n');
    const { stdout: status } = await tsvm(machine, 'inspect', '--format', '{{.State.Status}}', id);
    expect(status).toBe('running\n');
    await tsvm(machine, 'rm', '-f', id);
  });

  test('the process of an exec goes on when its caller is killed', async () => {
    const script = 'echo $$; exec sleep 1001 >&- 2>&-';
    const command = machine.spawn([TSVM, 'exec', NAME, 'sh', '-c', script]);
    await readUntil(command.stdout, '\n');
    command.kill('SIGKILL');
    await command.exit;
    expect((await tsvm(machine, 'top', NAME)).stdout).toContain('sleep 1001');
  });

  test('no user of a container uses up the connections to the host', async () => {
    const refused = await tsvm(machine, 'exec', '-u', 'nobody', NAME, 'perl', '-e', FLOOD.replace('sleep 1000;', ''));
    expect(refused.stdout).toBe('no socket: Address family not supported by protocol\nopen 0\n');
    // A privileged container may open them. Those of the host's callers are kept free.
    const { stdout } = await tsvm(
      machine,
      'run',
      '-d',
      '--privileged',
      '--network',
      'none',
      DEBIAN,
      'perl',
      '-e',
      FLOOD,
    );
    const id = stdout.trim();
    await shell(machine, `until "$TSVM" logs ${id} | grep -q open; do sleep 0.1; done`);
    expect((await tsvm(machine, 'logs', id)).stdout).toMatch(/^open \d{3}\n$/);
    expect(await tsvm(machine, 'exec', id, 'echo', 'here')).toEqual({ code: 0, stdout: 'here\n', stderr: '' });
    expect((await tsvm(machine, 'top', id)).stdout).toContain('perl');
    await tsvm(machine, 'rm', '-f', id);
  });

  test('a sandbox that has not started in time is ended and removed', async () => {
    const home = new Home(inject('homes').here);
    const name = `late-${process.pid}`;
    // Far more than its container takes to be made, and less than an emulated kernel to boot.
    const creating = Sandbox.create(DEBIAN, { home, name, accel: 'tcg', network: { mode: 'none' }, timeout: 1000 });
    await expect(creating).rejects.toMatchObject({ code: 'timeout' });
    await expect.poll(() => Container.list(home).filter((container) => container.name === name)).toEqual([]);
  });

  test('a guest that stands still keeps nothing waiting', async () => {
    const home = new Home(inject('homes').here);
    await using sandbox = await Sandbox.create(DEBIAN, { home, network: { mode: 'none' } });
    // Its output is bounded as well.
    await expect(sandbox.run(['yes'], { maxOutput: 1000 })).rejects.toMatchObject({ code: 'output' });
    const { truncated, stdout: kept } = await sandbox.run(['seq', '9999'], { maxOutput: 6, onMaxOutput: 'truncate' });
    expect([truncated, kept]).toEqual([true, '1\n2\n3\n']);
    const { stdout } = await tsvm(machine, 'inspect', '--format', '{{.State.Pid}}', NAME, sandbox.id);
    const groups = `for pid in ${stdout.trim().split('\n').join(' ')}; do ps -o pgid= -p "$pid"; done`;
    const [pid, other] = (await shell(machine, groups)).stdout.trim().split('\n').map(Number);
    const signal = async (name: string, group: number | undefined) =>
      expect(await shell(machine, `kill -${name} -- -${group}`)).toMatchObject({ code: 0 });
    await signal('STOP', other);
    // One of the requests stops the guest in the middle of its answer.
    const halted = shell(
      machine,
      `"$TSVM" cp "$NAME:/big" - | { head -c 1000 > /dev/null; kill -STOP -- -${pid}; cat > /dev/null; }; exit \${PIPESTATUS[0]}`,
    );
    await shell(machine, `until grep -q 'State:.T' /proc/${pid}/status; do sleep 0.1; done`);
    const requests = [
      ['exec', NAME, 'true'],
      ['exec', '-d', NAME, 'true'],
      ['top', NAME],
      ['stats', '--no-stream', NAME],
      ['diff', NAME],
      ['cp', `${NAME}:/etc/passwd`, '-'],
    ];
    const answers = Promise.all([halted, ...requests.map((words) => tsvm(machine, ...words))]);
    const limited = await Promise.allSettled([
      sandbox.run(['true'], { timeout: 500 }),
      sandbox.run(['true'], { signal: AbortSignal.timeout(500) }),
      sandbox.files.read('/etc/passwd', { timeout: 500 }),
      sandbox.files.write('/x', 'x', { signal: AbortSignal.timeout(500) }),
      sandbox.usage({ timeout: 500 }),
    ]);
    expect(limited.map((one) => one.status === 'rejected' && (one.reason.name ?? one.reason.code))).toEqual([
      'SandboxError',
      'TimeoutError',
      'SandboxError',
      'TimeoutError',
      'SandboxError',
    ]);
    const unlimited = await Promise.allSettled([sandbox.run(['true']), sandbox.files.list('/'), sandbox.usage()]);
    for (const one of unlimited) expect(one).toMatchObject({ status: 'rejected', reason: { code: 'unresponsive' } });
    for (const { code, stderr } of await answers)
      expect({ code, stderr }).toEqual({ code: 125, stderr: expect.stringMatching(STILL) });

    expect(sandbox.suspect).toBe(true);
    expect((await tsvm(machine, 'ps', '--filter', `name=${NAME}`)).stdout).toContain('(unresponsive)');
    expect(await tsvm(machine, 'exec', NAME, 'true')).toMatchObject({
      code: 125,
      stderr: expect.stringMatching(/has stopped answering/),
    });
    // A guest that answers after all is trusted again, and what it started too late is gone.
    await signal('CONT', pid);
    while ((await tsvm(machine, 'ps', '--filter', `name=${NAME}`)).stdout.includes('(unresponsive)')) await sleep(100);
    expect(await tsvm(machine, 'exec', NAME, 'echo', 'back')).toEqual({ code: 0, stdout: 'back\n', stderr: '' });
    await signal('STOP', pid);
    expect(await tsvm(machine, 'rm', '-f', NAME)).toMatchObject({ code: 0 });
    await sandbox.close();
  });
});
