// The machine process of a container is in a jail: of namespaces where the host allows them, of
// landlock where it does not, and of nothing if the user says so.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEBIAN, fastestProcessor, run, TSVM } from './machine.js';

const REFUSE = fileURLToPath(new URL('../unit/jail/refuse.c', import.meta.url));
const NAMESPACES = {
  ...{ files: 'namespace', network: 'namespace', processes: 'namespace', sockets: 'namespace', ipc: 'namespace' },
  seccomp: 'kill',
};
/** The first of the users of root's jails. */
const FIRST_USER = 2_130_706_432;
const LANDLOCK = {
  files: 'landlock',
  network: 'landlock',
  processes: 'landlock',
  sockets: 'landlock',
  ipc: null,
  seccomp: 'kill',
};

/** Prints what the machine process of the container $1 has of the host. */
const LOOK = `
  machine=$("$TSVM" inspect -f '{{.State.Pid}}' "$1")
  tr '\\0' '\\n' < "/proc/$machine/environ" | cut -d= -f1 | sort | xargs
  ls "/proc/$machine/root" | xargs
  ls "/proc/$machine/root/root" "/proc/$machine/root/home" "/proc/$machine/root/etc/passwd" 2>&1 | grep -c 'No such file'
  grep -E '^(CapPrm|CapBnd|NoNewPrivs|Seccomp):' "/proc/$machine/status" | cut -f2 | xargs
  ls -l "/proc/$machine/fd" | grep -c "$FOREIGN"
  tail -n +3 "/proc/$machine/net/dev" | cut -d: -f1 | xargs
  ps -o comm= -p "$machine"
  # A file that it writes is no larger than its disk, in bytes.
  awk '/^Max file size/ { print $4, $5 }' "/proc/$machine/limits"
  # The users of its threads, and of what it has started.
  for pid in "$machine" $(pgrep -P "$machine"); do grep -hE '^[UG]id:' "/proc/$pid/task"/*/status; done | cut -f2- |
    tr '\t' '\n' | sort -u | xargs
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-e2e-jail-');
  execFileSync('gcc', ['-std=gnu11', '-D_GNU_SOURCE', '-static', '-o', join(folder, 'refuse'), REFUSE]);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(fastestProcessor)('on $name', (machine) => {
  const sh = (script: string, words: string[], env: Record<string, string> = {}) =>
    run(machine, ['bash', '-c', script, 'bash', ...words], { env: { TSVM, ...env } });
  const refusing = (what: string, words: string[], env: Record<string, string> = {}) =>
    run(machine, [join(folder, 'refuse'), what, TSVM, ...words], { env: { TSVM, ...env } });

  test('its machine process has no file, secret or right of the host, and inspect says so', async () => {
    const name = `jailed-${process.pid}`;
    const start = `exec 7< "$FOREIGN"; "$TSVM" run -d --name "$1" ${DEBIAN} sleep 1000 > /dev/null`;
    const foreign = { FOREIGN: '/etc/hostname', SECRET_TOKEN: 'a secret' };
    expect(await sh(start, [name], foreign)).toMatchObject({ code: 0 });
    try {
      const { stdout: report } = await run(machine, [TSVM, 'inspect', '-f', '{{json .State.Jail}}', name]);
      const jail = JSON.parse(report);
      expect(jail).toMatchObject(NAMESPACES);
      expect(jail.uid).toBeGreaterThanOrEqual(FIRST_USER);
      // QEMU's, where the machine is emulated.
      if (jail.companion !== undefined) expect(jail.companion).toMatchObject({ ...NAMESPACES, seccomp: 'refuse' });
      const { stdout } = await sh(LOOK, [name], foreign);
      const [environment, root = '', missing, rights, descriptors, interfaces, program, sizes, users] = stdout
        .trimEnd()
        .split('\n');
      expect(environment).toBe('OPENSSL_CONF');
      expect(root.split(' ')).toEqual(expect.arrayContaining(['dev', 'proc', 'usr']));
      expect(missing).toBe('3');
      expect(rights).toBe('0000000000000000 0000000000000000 1 2');
      expect(descriptors).toBe('0');
      // The default network, which is the owner's.
      expect(interfaces).toBe('lo');
      expect(program).toBe('node');
      expect(sizes).toBe(`${10 * 2 ** 30} ${10 * 2 ** 30}`);
      expect(users).toBe(`${jail.uid}`);
    } finally {
      await run(machine, [TSVM, 'rm', '-f', name]);
    }
  });

  test('where the host refuses namespaces, landlock jails it, with a mounted folder too', async () => {
    const name = `landlocked-${process.pid}`;
    const own = join(folder, 'own');
    await sh('mkdir -p "$1"; echo inside > "$1/file"', [own]);
    const script =
      'cat /x/file; mkdir /x/a; mv /x/file /x/a/moved; echo more >> /x/a/moved; cat /x/a/moved; rm -r /x/a';
    const words = ['run', '--name', name, '--network', 'none', '-v', `${own}:/x`, DEBIAN, 'sh', '-c', script];
    expect(await refusing('namespaces', words)).toMatchObject({ code: 0, stdout: 'inside\ninside\nmore\n' });
    await run(machine, [TSVM, 'rm', name]);
    const held = ['run', '-d', '--name', name, '--network', 'none', DEBIAN, 'sleep', '1000'];
    expect(await refusing('namespaces', held)).toMatchObject({ code: 0 });
    const { stdout: report } = await run(machine, [TSVM, 'inspect', '-f', '{{json .State.Jail}}', name]);
    await run(machine, [TSVM, 'rm', '-f', name]);
    expect(JSON.parse(report)).toMatchObject(LANDLOCK);
  });

  test('its file server reaches its shares alone, and cannot write to one that is read-only', async () => {
    const name = `serving-${process.pid}`;
    const script = `
      mkdir -p "$2"; kept=
      "$TSVM" run -d --name "$1" -v "$2:/x:ro" ${DEBIAN} sleep 1000 > /dev/null || exit
      machine=$("$TSVM" inspect -f '{{.State.Pid}}' "$1")
      # The filter lets calls of the file server name descriptors below this alone.
      end=$(awk '/^Max open files/ { print $4 }' "/proc/$machine/limits")
      for each in "/proc/$machine/fd/"*; do
        # One that has been closed meanwhile is none.
        file=$(readlink "$each") || continue
        # libuv opens /dev/null, for reading, with its first stream: a thread for a vCPU has streams.
        case $file in socket:* | pipe:* | anon_inode:* | /memfd:* | /dev/null) continue ;; esac
        if [ "\${each##*/}" -ge "$end" ]; then kept="$kept \${file##*/}"; continue; fi
        echo "$file"
        touch "$each/new" 2>&1 | grep -o 'Read-only file system'
      done
      case $kept in *disk.erofs*) echo 'its disks are kept' ;; esac`;
    const { stdout, stderr } = await sh(script, [name, join(folder, 'served')]);
    await run(machine, [TSVM, 'rm', '-f', name]);
    // The mount of the share.
    expect(stdout, stderr).toBe('/\nRead-only file system\nits disks are kept\n');
  });

  test('drivers in the guest let go of their devices and take them back while it runs', async () => {
    const own = join(folder, 'rebound');
    await sh('mkdir -p "$1"', [own]);
    const script = `
      cd /sys/bus/virtio/drivers
      for driver in virtio_rng virtio_balloon virtio_net virtiofs; do
        for device in $(ls $driver | grep '^virtio'); do
          for turn in 1 2 3; do
            echo $device > $driver/unbind && echo $device > $driver/bind
          done
          test -e $driver/$device && echo $driver
        done
      done
      ls /sys/class/net
      head -c 16 /dev/hwrng | wc -c`;
    // As root of the guest's kernel, which any hostile guest becomes.
    const words = ['run', '--rm', '--privileged', '-v', `${own}:/x`, DEBIAN, 'sh', '-c', script];
    const { code, stdout } = await run(machine, [TSVM, ...words]);
    const drivers = ['virtio_rng', 'virtio_balloon', 'virtio_net', 'virtiofs'];
    expect({ code, lines: stdout.trim().split('\n') }).toEqual({ code: 0, lines: [...drivers, 'eth0', 'lo', '16'] });
  });

  test('--jail require refuses a host that cannot, and --jail off does without', async () => {
    const words = ['run', '--rm', '--network', 'none', DEBIAN, 'true'];
    const [command = '', ...rest] = words;
    expect(await refusing('namespaces', [command, '--jail', 'require', ...rest])).toMatchObject({
      code: 125,
      stderr: expect.stringMatching(/^tsvm: no namespaces for files, .*not permitted\): a jail is required\n$/),
    });
    expect(await refusing('namespaces', words, { TSVM_JAIL: 'require' })).toMatchObject({
      code: 125,
      stderr: expect.stringMatching(/: a jail is required\n$/),
    });
    expect(await run(machine, [TSVM, command, '--jail', 'require', ...rest])).toMatchObject({ code: 0 });
    const outside = [TSVM, command, '--jail', 'require', '--rm', DEBIAN, 'true'];
    expect(await run(machine, outside)).toMatchObject({ code: 0 });
    expect(await run(machine, [TSVM, command, '--jail', 'require', ...rest], { env: { TSVM_SECCOMP: 'log' } })).toEqual(
      {
        code: 125,
        stdout: '',
        stderr: 'tsvm: no filter of system calls ends the machine process: a jail is required\n',
      },
    );
    const users = { TSVM_UIDS: 'many' };
    expect(await run(machine, [TSVM, command, '--jail', 'require', ...rest], { env: users })).toEqual({
      code: 125,
      stdout: '',
      stderr:
        'tsvm: no user of its own (TSVM_UIDS is "many": use FIRST:COUNT, user IDs that no other user has): a jail is required\n',
    });
    expect(await run(machine, [TSVM, ...words], { env: users })).toMatchObject({ code: 0 });
    expect(await run(machine, [TSVM, command, '--jail', 'off', ...rest])).toMatchObject({ code: 0 });
    expect(await run(machine, [TSVM, ...words], { env: { TSVM_JAIL: 'tight' } })).toMatchObject({
      code: 125,
      stderr: expect.stringContaining("invalid argument 'tight' for TSVM_JAIL: expected auto, require or off"),
    });
  });
});
