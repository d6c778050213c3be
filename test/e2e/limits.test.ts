// Each limit holds: what exceeds it fails, and the machine goes on.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEBIAN, fastest, fastestAndUml, machines, type RunOptions, readUntil, run, TSVM, tsvmRun } from './machine.js';

/** A folder that the lab sees too. */
let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
});

afterAll(() => rmSync(folder, { recursive: true }));

function seccompProfile(profile: object): string[] {
  const file = join(folder, 'seccomp.json');
  writeFileSync(file, JSON.stringify(profile));
  return ['--security-opt', `seccomp=${file}`];
}

/** Prints the number of devices of the root's files, and that names have the inodes of their files. */
const ONE_FILE_SYSTEM = `touch /usr/own; chmod 700 /usr/share/doc
  [ "$(du -sx /usr)" = "$(du -s /usr)" ] && find /usr /var -xdev -printf '%D\n' | sort -u | wc -l
  cd /usr && ls -aU1i | sort > /tmp/names && stat -c '%i %n' .* * | sort > /tmp/files
  sed 's/^ *//' /tmp/names | grep -v ' .' | sort > /tmp/a; grep -v ' .' /tmp/files | sort | cmp - /tmp/a && echo same`;

describe.each(machines)('on $name', (machine) => {
  test('memory that a guest frees returns to the host, and stats shows it', async () => {
    const name = `returns-${process.pid}-${Date.now()}`;
    /** The guest's memory on the host, in megabytes. */
    const resident = async () => {
      const words = ['stats', '--no-stream', '--format', '{{.GuestMem}}', name];
      const { stdout } = await run(machine, [TSVM, ...words]);
      expect(stdout).toMatch(/^[\d.]+MB\n$/);
      return Number.parseFloat(stdout);
    };
    const script = 'head -c 200000000 /dev/zero > /fill/x; echo filled; read go; rm /fill/x; echo freed; read go';
    const options = ['--rm', '--name', name, '-i', '-m', '417m', '--tmpfs', '/fill'];
    const command = machine.spawn([TSVM, 'run', ...options, DEBIAN, 'sh', '-c', script]);
    await readUntil(command.stdout, 'filled');
    const filled = await resident();
    expect(filled).toBeGreaterThan(200);
    command.stdin.write('go\n');
    await readUntil(command.stdout, 'freed');
    while ((await resident()) > filled - 150);
    command.stdin.end();
    expect(await command.exit).toBe(1);
  });
});

// It kills processes that are about to fork.
describe.each(fastestAndUml)('on $name', (machine) => {
  test('a fork bomb ends at --pids-limit, and the container lives on', async () => {
    // The shell cannot start processes either meanwhile, so it uses builtins to wait and kill.
    const script = [
      'cd /sys/fs/cgroup; bomb() { bomb | bomb & }; bomb 2>/dev/null',
      'until read word refused < pids.events && [ $refused -gt 0 ]; do :; done',
      'until kill -9 -1 2>/dev/null; wait; read left < pids.current && [ $left -le 2 ]; do :; done',
      'cat pids.max',
    ].join('\n');
    const { code, stdout } = await tsvmRun(machine, ['--init', '--pids-limit', '40', DEBIAN, 'sh', '-c', script]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '40\n' });
  });
});

describe.each(fastest)('on $name', (machine) => {
  /** Runs a shell script in a container. Returns its output and exit code. */
  const shell = (options: string[], script: string, more?: RunOptions) =>
    tsvmRun(machine, [...options, DEBIAN, 'sh', '-c', script], more);

  test('a process without memory ends with exit code 137, and inspect shows OOMKilled', async () => {
    const inspect = async (id: string) => {
      const { stdout } = await run(machine, [TSVM, 'inspect', id]);
      const [{ State }] = JSON.parse(stdout);
      return { code: State.ExitCode, killed: State.OOMKilled };
    };
    const name = `hog-${process.pid}`;
    try {
      const { code } = await run(machine, [TSVM, 'run', '--name', name, '-m', '96m', DEBIAN, 'tail', '/dev/zero']);
      expect(code).toBe(137);
      expect(await inspect(name)).toEqual({ code: 137, killed: true });
      await run(machine, [TSVM, 'rm', name]);
      await run(machine, [TSVM, 'run', '--name', name, DEBIAN, 'sh', '-c', 'kill -9 $$; exit 137']);
      expect(await inspect(name)).toEqual({ code: 137, killed: false });
    } finally {
      await run(machine, [TSVM, 'rm', '-f', name]);
    }
  });

  test('a full disk or tmpfs fails only the process that writes to it', async () => {
    const fill =
      'head -c 200m /dev/zero > $place/file || echo full; rm $place/file; echo ok > $place/file; cat $place/file';
    const script = `for place in /root /small /dev/shm; do ${fill}; done 2>/dev/null`;
    const options = ['--disk', '64m', '--tmpfs', '/small:size=2m', '--shm-size', '3m'];
    const { code, stdout } = await shell(options, script.replace('200m', '200000000'));
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'full\nok\n'.repeat(3) });
  });

  // Each is at least ten seconds of work at the limit, because the device does not hold the last
  // request back. A busy host makes both disks slower, never faster. The four run at once.
  test.concurrent.each([
    ['--device-write-bps', '128kb', 'if=/dev/zero of=/file oflag=direct', 'bs=256k count=6'],
    ['--device-write-iops', '5', 'if=/dev/zero of=/file oflag=direct', 'bs=4k count=60'],
    ['--device-read-bps', '128kb', 'if=/dev/vdb of=/dev/null iflag=direct', 'bs=256k count=6'],
    ['--device-read-iops', '5', 'if=/dev/vdb of=/dev/null iflag=direct', 'bs=4k count=60'],
  ])('%s %s slows its disk down while another one goes on', async (option, rate, limited, amount) => {
    const script = [
      'took() { start=$(date +%s%N); "$@" 2>/dev/null; echo $((($(date +%s%N) - start) / 1000000)); }',
      `took dd ${limited} ${amount} > /tmp/limited &`,
      `took dd if=/dev/vda of=/dev/null iflag=direct ${amount}; wait; cat /tmp/limited`,
    ].join('\n');
    const { stdout } = await shell(['--disk', '64m', '--privileged', option, `/dev/vdb:${rate}`], script);
    expect(stdout).toMatch(/^\d+\n\d+\n$/);
    const [free, slow = 0] = stdout.split('\n').map(Number);
    expect(slow).toBeGreaterThan(9_000);
    expect(free).toBeLessThan(slow);
  });

  test('a fraction of a CPU is a quota of its time', async () => {
    const spin = 'end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do i=$((i + 1)); done';
    const { stdout } = await shell(
      ['--cpus', '0.25'],
      `nproc; ${spin}; cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.stat`,
    );
    expect(stdout).toMatch(/^1\n25000 100000\n/);
    const count = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stdout)?.[1]);
    expect(count('nr_throttled')).toBeGreaterThan(0);
    expect(count('usage_usec')).toBeLessThan((count('nr_periods') + 2) * 25_000);
  });

  test('resource limits, groups and capabilities are applied', async () => {
    const options = [
      ...['--ulimit', 'nofile=64:128', '--ulimit', 'core=0', '--group-add', '1234', '--group-add', 'video'],
      ...['--cap-drop', 'chown', '--cap-add', 'SYS_TIME', '--security-opt', 'no-new-privileges'],
    ];
    const script = [
      'ulimit -n; ulimit -Hn; ulimit -c; id -G; grep -E "NoNewPrivs|CapEff" /proc/self/status',
      'chown nobody /etc/hostname 2>/dev/null || echo "no chown"',
      'date -s @1000000000 > /dev/null && date +%Y',
    ].join('; ');
    const { code, stdout } = await shell(options, script);
    const expected = ['64', '128', '0', '0 44 1234', 'CapEff:\t00000000aa0425fa', 'NoNewPrivs:\t1', 'no chown', '2001'];
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${expected.join('\n')}\n` });
  });

  test('kernel parameters are set; one that the kernel lacks is an error', async () => {
    const options = ['--sysctl', 'net.ipv4.ip_forward=1', '--sysctl', 'vm.max_map_count=262144'];
    const { stdout } = await shell(options, 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/vm/max_map_count');
    expect(stdout).toBe('1\n262144\n');
    expect(await shell(['--sysctl', 'vm.nope=1'], 'true')).toEqual({
      code: 125,
      stdout: '',
      stderr: 'tsvm: sysctl vm/nope: No such file or directory\n',
    });
  });

  test('a privileged container mounts and sees the disk; any other does not', async () => {
    const script = 'mount -t tmpfs none /mnt 2>/dev/null && echo mounted; test -b /dev/vda && echo disk; :';
    expect((await shell(['--privileged'], script)).stdout).toBe('mounted\ndisk\n');
    expect((await shell([], script)).stdout).toBe('');
  });

  test('a seccomp profile denies its system calls to root and to others, and allows the rest', async () => {
    const options = seccompProfile({
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 },
        {
          names: ['kill'],
          action: 'SCMP_ACT_ERRNO',
          args: [{ index: 1, op: 'SCMP_CMP_EQ', value: 10 }],
          excludes: { caps: ['CAP_SYS_PTRACE'] },
        },
      ],
    });
    const script = [
      'mkdir /tmp/x 2>&1 | grep -o "No space left on device"',
      'sleep 1000 & kill -USR1 $! 2>/dev/null || echo "no USR1"',
      'kill -TERM $! && echo TERM',
      'grep Seccomp: /proc/self/status',
    ].join('; ');
    const denied = 'No space left on device\n';
    const { stdout } = await shell([...options, '-u', 'nobody'], script);
    expect(stdout).toBe(`${denied}no USR1\nTERM\nSeccomp:\t2\n`);
    const traced = await shell([...options, '--cap-add', 'SYS_PTRACE'], script);
    expect(traced.stdout).toMatch(new RegExp(`^${denied}.*Seccomp:\\t2\\n$`, 's'));
    expect(traced.stdout).not.toContain('no USR1');
    // Without a profile there is the rule about AF_VSOCK, and with --privileged none.
    const unconfined = await shell(['--security-opt', 'seccomp=unconfined'], script);
    expect(unconfined.stdout).toMatch(/Seccomp:\t2\n$/);
    expect(unconfined.stdout).not.toMatch(/no USR1|No space/);
    expect((await shell([...options, '--privileged'], script)).stdout).toContain('Seccomp:\t0\n');
  });

  test('exec, cp, diff, stats, top and stop work in a container that nests cgroups, and it has a console', async () => {
    // The container's own cgroup then takes no process (cgroup-v2.rst).
    const nest = `set -e; cd /sys/fs/cgroup; mkdir leaf; echo $$ > leaf/cgroup.procs
      echo +memory +pids > cgroup.subtree_control; stat -c '%t:%T' /dev/console; sleep 1000 & echo nested; exec sleep 1000`;
    const created = await run(machine, [TSVM, 'run', '-d', '-t', '--privileged', DEBIAN, 'sh', '-c', nest]);
    const id = created.stdout.trim();
    try {
      const logs = machine.spawn([TSVM, 'logs', '-f', id]);
      expect(await readUntil(logs.stdout, 'nested')).toMatch(/^88:0\r?\nnested/);
      logs.kill('SIGKILL');
      const script = `set -e; t='${TSVM}'
        $t exec ${id} cat /proc/self/cgroup
        $t cp ${id}:/etc/debian_version - | tar tf -
        $t exec ${id} touch /made; $t diff ${id}
        $t top ${id} | tail -n +2 | wc -l; $t stats --no-stream --format '{{.PIDs}}' ${id}
        $t stop -t 1 ${id} > /dev/null; $t inspect -f '{{.State.Status}} {{.State.ExitCode}}' ${id}`;
      const used = await run(machine, ['sh', '-c', script]);
      expect(used).toEqual({
        code: 0,
        stdout: '0::/leaf\ndebian_version\nA /made\n2\n2\nexited 137\n',
        stderr: '',
      });
    } finally {
      await run(machine, [TSVM, 'rm', '-f', id]);
    }
  });

  test.each([
    ['in memory', ['--disk', 'memory']],
    ['on a disk', []],
  ])('a root %s is one file system, whichever layer a file is in', async (_, options) => {
    const { stdout } = await shell(options, ONE_FILE_SYSTEM);
    expect(stdout).toBe('1\nsame\n');
  });

  test('so is the root of a kept container, also when it is started again', async () => {
    const script = `id=$("$0" create "$@"); for start in 1 2; do "$0" start -a $id; done; "$0" rm $id > /dev/null`;
    const { stdout } = await run(machine, ['sh', '-c', script, TSVM, DEBIAN, 'sh', '-c', ONE_FILE_SYSTEM]);
    expect(stdout).toBe('1\nsame\n1\nsame\n');
  });

  test('exec has the privileges of the first process and no more, unless it is privileged', async () => {
    const options = ['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges', '--ulimit', 'nofile=33'];
    const created = await run(machine, [TSVM, 'run', '-d', '--rm', ...options, DEBIAN, 'sleep', '1000']);
    const id = created.stdout.trim();
    const script = ['sh', '-c', 'ulimit -n; grep -E "CapEff|NoNewPrivs" /proc/self/status'];
    try {
      const plain = await run(machine, [TSVM, 'exec', id, ...script]);
      expect(plain.stdout).toBe('33\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n');
      const privileged = await run(machine, [TSVM, 'exec', '--privileged', id, ...script]);
      expect(privileged.stdout).toContain('CapEff:\t000001ffffffffff\n');
    } finally {
      await run(machine, [TSVM, 'rm', '-f', id]);
    }
  });

  test('--init forwards a signal to a command that would ignore it as process 1', async () => {
    const command = machine.spawn([TSVM, 'run', '--rm', '--init', DEBIAN, 'sh', '-c', 'echo up; exec sleep 1000']);
    await readUntil(command.stdout, 'up');
    command.kill('SIGTERM');
    expect(await command.exit).toBe(143);
  });

  test('a container with --cap-drop ALL has no capabilities, and cannot change owners', async () => {
    const { stdout } = await shell(
      ['--cap-drop', 'ALL'],
      'grep CapEff /proc/self/status; chown 1 /root || echo refused',
    );
    expect(stdout).toBe('CapEff:\t0000000000000000\nrefused\n');
  });
});
