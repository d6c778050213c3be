// Proves that the real agent makes containers as PROTOCOL.md says: on this machine's kernel, in its
// own namespaces, with requests from the host's codec.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CAPABILITIES,
  type ContainerRequest,
  encodeFrame,
  type HostFrame,
  type MachineRequest,
  type ProcessRequest,
  type ProcessSpec,
} from '../../../sandbox/agent/protocol.js';
import { AgentUnderTest, buildAgent } from './agent-under-test.js';
import { type LoopDevice, makeContainerImage, makeScratchDisk } from './container-image.js';

let agent: string;
let image: LoopDevice;

beforeAll(() => {
  agent = buildAgent();
  image = makeContainerImage();
});

afterAll(() => image[Symbol.dispose]());

/**
 * The id of the container, which is also in the name of its cgroup. Agents under test share the
 * cgroups of this machine, so test files that run at the same time need different ids.
 */
const BOX = randomInt(1, 2 ** 31);
/** The numbers of the requests for the machine and the container. Request 1 starts process 1. */
const MACHINE = 1001;
const CONTAINER = 1002;

type More = Partial<ContainerRequest> & Pick<MachineRequest, 'network' | 'moreNetworks'>;

type StartRequests = [MachineRequest, ContainerRequest, ProcessRequest];

function startRequests(process: Partial<ProcessRequest>, { network, moreNetworks, ...more }: More = {}): StartRequests {
  return [
    { type: 'machine', request: MACHINE, network, moreNetworks },
    {
      type: 'container',
      request: CONTAINER,
      id: BOX,
      hostname: 'box',
      root: { device: image.device },
      hosts: '127.0.0.1\tlocalhost\n',
      resolvConf: 'nameserver 192.0.2.53\n',
      ...more,
    },
    { type: 'process', request: 1, container: BOX, id: 1, argv: ['true'], ...process },
  ];
}

/** Starts an agent and sends it requests, without waiting for answers. */
async function boot(requests: HostFrame[] = []): Promise<AgentUnderTest> {
  const session = new AgentUnderTest();
  await session.boot(agent);
  for (const request of requests) session.send(request);
  return session;
}

/** Runs one process to its end. */
async function run(process: Partial<ProcessSpec>, more: More = {}) {
  await using session = await boot(startRequests(process, more));
  const [stdout, stderr, exited] = await Promise.all([
    session.output(1, 'stdout'),
    session.output(1, 'stderr'),
    session.exited(1),
  ]);
  return { stdout, stderr, exited };
}

async function shell(script: string, process: Partial<ProcessSpec> = {}, more: More = {}) {
  const { stdout, stderr } = await run({ argv: ['sh', '-c', script], ...process }, more);
  expect(stderr).toBe('');
  return stdout;
}

describe('a process', () => {
  test('says hello, started, exited, with output on streams of its own', async () => {
    await using session = await boot(startRequests({ argv: ['sh', '-c', 'echo out; echo err >&2; exit 3'] }));
    expect(await session.output(1, 'stdout')).toBe('out\n');
    expect(await session.output(1, 'stderr')).toBe('err\n');
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, container: BOX, code: 3 });
    expect(session.frames.map((frame) => frame.type)).toEqual(['hello', 'done', 'done', 'started', 'exited']);
  });

  test('gets binary stdin of any size unchanged', async () => {
    const bytes = randomBytes(5_000_000);
    await using session = await boot(startRequests({ argv: ['sha256sum'], stdin: true }));
    const stdin = await session.stream(1, 'stdin');
    stdin.end(bytes);
    expect(await session.output(1, 'stdout')).toBe(`${createHash('sha256').update(bytes).digest('hex')}  -\n`);
  });

  test('that closes its stdin early stops the host from writing', async () => {
    await using session = await boot(startRequests({ argv: ['sh', '-c', 'exec <&-; sleep 1000'], stdin: true }));
    const stdin = await session.stream(1, 'stdin');
    stdin.resume();
    await new Promise((resolve) => stdin.once('close', resolve).once('end', resolve));
    expect(stdin.destroyed || stdin.readableEnded).toBe(true);
  });

  test('without stdin reads nothing', async () => {
    expect(await shell('wc -c')).toBe('0\n');
  });

  test('handles a signal', async () => {
    await using session = await boot(
      startRequests({ argv: ['sh', '-c', 'trap "exit 7" TERM; echo up; sleep 1000 & wait'] }),
    );
    await session.outputUpTo(1, 'stdout', 'up\n');
    session.send({ type: 'signal', request: 2, process: 1, signal: 15 });
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, container: BOX, code: 7 });
  });

  test('killed by a signal is reported with the signal', async () => {
    await using session = await boot(startRequests({ argv: ['sleep', '1000'] }));
    await session.answer(1);
    session.send({ type: 'signal', request: 2, process: 1, signal: 9 });
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, container: BOX, signal: 9 });
  });

  test('that is process 1 ends its descendants, so that its streams end', async () => {
    expect((await run({ argv: ['sh', '-c', 'sleep 1000 & echo gone'] })).stdout).toBe('gone\n');
  });

  test('has process 1, default signals and mask, and no descriptors but its own', async () => {
    const status = await run({ argv: ['grep', '-E', '^(Pid|Sig(Blk|Ign)):', '/proc/self/status'] });
    const none = '0000000000000000';
    expect(status.stdout).toBe(`Pid:\t1\nSigBlk:\t${none}\nSigIgn:\t${none}\n`);
    expect((await run({ argv: ['ls', '/proc/self/fd'] })).stdout).toBe('0\n1\n2\n3\n'); // 3: the directory it lists
  });
});

describe('the container', () => {
  test('has its own host name, hosts and resolv.conf, even where the image has links', async () => {
    const stdout = await shell(
      'uname -n; echo $HOSTNAME; cat /etc/hostname /etc/hosts /etc/resolv.conf /etc/elsewhere',
    );
    expect(stdout).toBe('box\nbox\nbox\n127.0.0.1\tlocalhost\nnameserver 192.0.2.53\n127.0.0.1\tlocalhost\n');
  });

  test('has a writable root over the image, with the root directory of the image', async () => {
    const stdout = await shell(
      'echo new >/etc/image-file; cat /etc/image-file; stat -c "%a %u" /; mkdir /made; ls -d /made',
    );
    expect(stdout).toBe('new\n755 0\n/made\n');
  });

  test('cannot write to a read-only root, but to its tmpfs', async () => {
    const stdout = await shell(
      'touch /x 2>/dev/null || echo refused; touch /scratch/x /dev/shm/x && ls /scratch; stat -c "%a %u" /scratch; ' +
        'grep " /scratch " /proc/mounts | tr , "\\n" | grep -E "^(size|nosuid|noexec|nodev)"',
      {},
      {
        root: { device: image.device, readonly: true },
        tmpfs: [{ path: '/scratch', size: 1024 * 1024, mode: 0o750, uid: 7, exec: true }],
      },
    );
    expect(stdout).toBe('refused\nx\n750 7\nnosuid\nnodev\nsize=1024k\n');
  });

  test('has a tmpfs with the mode of the directory there, and with its files if they are wanted', async () => {
    const stdout = await shell(
      'stat -c "%a %u:%g %N" /opt /opt/* /root /new; cat /opt/not-executable; touch /opt/more 2>/dev/null || echo refused; touch /root/more',
      {},
      {
        tmpfs: [
          { path: '/opt', copyUp: true, readonly: true },
          { path: '/root', copyUp: true, mode: 0o750, uid: 7 },
          { path: '/new', copyUp: true },
        ],
      },
    );
    expect(stdout).toBe(
      "755 0:0 '/opt'\n777 0:0 '/opt/loop' -> 'loop'\n644 0:0 '/opt/not-executable'\n" +
        "777 0:0 '/opt/outside' -> '../../../../opt'\n750 7:0 '/root'\n1777 0:0 '/new'\n#!/bin/sh\nrefused\n",
    );
  });

  test('is not started if its tmpfs has no room for the files there', async () => {
    await using session = await boot(startRequests({}, { tmpfs: [{ path: '/bin', copyUp: true, size: 4096 }] }));
    expect(await session.error(1)).toMatchObject({
      kind: 'setup-failed',
      message: 'copy what is in /bin: write: No space left on device',
    });
  });

  test("has Docker's devices, links and mounts in /dev, and the machine's generation", async () => {
    const stdout = await shell(
      'ls /dev | tr "\\n" " "; echo; stat -c "%n %a %t:%T" /dev/null /dev/tty; echo hidden >/dev/null; ' +
        'readlink /dev/ptmx /dev/stdout; grep -E " /dev/(pts|shm) " /proc/mounts | wc -l; stat -f -c %b /dev/shm; echo x >/dev/stdout',
    );
    expect(stdout).toMatch(
      /^core fd full (mqueue )?null ptmx pts random shm stderr stdin stdout tsvm tty urandom zero \n\/dev\/null 666 1:3\n\/dev\/tty 666 5:0\npts\/ptmx\n\/proc\/self\/fd\/1\n2\n16384\nx\n$/,
    );
  });

  test('cannot change the kernel through /proc and /sys', async () => {
    const stdout = await shell(
      'echo 1 2>/dev/null >/proc/sys/vm/overcommit_memory || echo refused; echo b 2>/dev/null >/proc/sysrq-trigger || echo refused; ' +
        'wc -c </proc/keys; wc -c </proc/interrupts; ls /sys/firmware | wc -l; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused; ' +
        'mount -t tmpfs none /tmp 2>/dev/null || echo refused',
    );
    expect(stdout).toBe('refused\nrefused\n0\n0\n0\nrefused\nrefused\n');
  });

  test('sees only its own processes and mounts', async () => {
    const stdout = await shell(
      'ls /proc | grep -cE "^[0-9]+$"; grep -cE " (/run/containers|root|image|layer) " /proc/mounts; cat /proc/self/cgroup',
    );
    expect(stdout.split('\n')[1]).toBe('0');
    expect(stdout.split('\n')[0]).toMatch(/^[3-6]$/);
    expect(stdout).toContain('0::/\n');
  });

  test('has the default capabilities for root, and none for others', async () => {
    const script = 'grep -E "Cap(Prm|Eff|Bnd|Amb|Inh)" /proc/self/status | tr "\\t\\n" "  "';
    const none = '0000000000000000';
    const docker = '00000000a80425fb';
    expect(await shell(script)).toBe(
      `CapInh: ${none} CapPrm: ${docker} CapEff: ${docker} CapBnd: ${docker} CapAmb: ${none} `,
    );
    expect(await shell(script, { user: 'sam' })).toBe(
      `CapInh: ${none} CapPrm: ${none} CapEff: ${none} CapBnd: ${docker} CapAmb: ${none} `,
    );
    expect(await shell(script, { capabilities: ['CHOWN', 'KILL'] })).toContain('CapEff: 0000000000000021');
  });

  test('sets limits, umask and no-new-privileges', async () => {
    const stdout = await shell('ulimit -n; umask; grep NoNewPrivs /proc/self/status', {
      rlimits: [{ name: 'nofile', soft: 123, hard: 456 }],
      noNewPrivileges: true,
    });
    expect(stdout).toBe('123\n0022\nNoNewPrivs:\t1\n');
  });

  test('gets a working directory that the image does not have', async () => {
    expect(await shell('echo $PWD', { cwd: '/srv/deep/er' })).toBe('/srv/deep/er\n');
  });

  test('cannot be left by links in the image', async () => {
    expect(await shell('pwd -P', { cwd: '/opt/outside/../opt/outside/new' })).toBe('/opt/new\n');
    await using session = await boot(startRequests({ cwd: '/opt/loop/x' }));
    expect(await session.error(1)).toMatchObject({ kind: 'setup-failed', errno: 40 });
  });

  test('keeps its writable layer on a scratch disk, which is clean after shutdown', async () => {
    using scratch = makeScratchDisk();
    const root = { device: image.device, scratch: scratch.device };
    const runOnce = async (script: string) => {
      await using session = await boot(startRequests({ argv: ['sh', '-c', script] }, { root }));
      const stdout = await session.output(1, 'stdout');
      await session.exited(1);
      session.send({ type: 'shutdown', request: 2 });
      await session.end();
      return stdout;
    };
    expect(await runOnce('echo kept >/home/sam/file; echo changed >/etc/image-file')).toBe('');
    execFileSync('/sbin/e2fsck', ['-fn', scratch.file], { stdio: 'ignore' });
    expect(await runOnce('cat /home/sam/file /etc/image-file; stat -c %a /')).toBe('kept\nchanged\n755\n');
  });
});

describe('a seccomp filter', () => {
  // ld nr; jeq mkdir: ret ERRNO 13; ret ALLOW
  const seccomp = [
    { code: 0x20, jt: 0, jf: 0, k: 0 },
    { code: 0x15, jt: 0, jf: 1, k: 83 },
    { code: 0x06, jt: 0, jf: 0, k: 0x0005_000d },
    { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
  ];
  const script =
    'mkdir /tmp/x 2>&1 | grep -o "Permission denied"; grep -E "^(Seccomp|NoNewPrivs|CapEff):" /proc/self/status';

  test.each<[string, Partial<ProcessSpec>, string]>([
    ['root', {}, 'a80425fb'],
    ['root without capabilities', { capabilities: [] }, '00000000'],
    ['a user', { user: 'sam' }, '00000000'],
  ])('applies to %s, without leaving a privilege that its installation needed', async (_, process, capabilities) => {
    expect(await shell(script, { seccomp, ...process })).toBe(
      `Permission denied\nCapEff:\t00000000${capabilities}\nNoNewPrivs:\t0\nSeccomp:\t2\n`,
    );
  });

  test('needs no privilege with no-new-privileges', async () => {
    const stdout = await shell(script, { seccomp, noNewPrivileges: true, user: 'sam' });
    expect(stdout).toContain('Permission denied\n');
    expect(stdout).toContain('NoNewPrivs:\t1\nSeccomp:\t2\n');
  });

  test('that the kernel refuses is an error', async () => {
    const endless = [{ code: 0x05, jt: 0, jf: 0, k: 0xffff_ffff }];
    await using session = await boot(startRequests({ seccomp: endless }));
    expect(await session.error(1)).toMatchObject({
      kind: 'setup-failed',
      errno: 22,
      message: expect.stringContaining('seccomp filter'),
    });
  });

  test('does not prevent the report of a missing program', async () => {
    await using session = await boot(startRequests({ seccomp, argv: ['nope'] }));
    expect(await session.error(1)).toMatchObject({ kind: 'not-found' });
  });
});

describe('kernel parameters', () => {
  test('are set in the namespaces of the container', async () => {
    const sysctls = [
      { path: 'kernel/msgmax', value: '12345' },
      { path: 'net/ipv4/ip_default_ttl', value: '77' },
    ];
    const stdout = await shell('cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_default_ttl', {}, { sysctls });
    expect(stdout).toBe('12345\n77\n');
  });

  test.each([
    ['nope/nope', '1', 2],
    ['kernel/msgmax', 'many', 22],
  ])('%s=%s is an error', async (path, value, errno) => {
    await using session = await boot(startRequests({}, { sysctls: [{ path, value }] }));
    expect(await session.error(1)).toMatchObject({ kind: 'setup-failed', errno, message: expect.stringMatching(path) });
  });
});

describe('the network interface', () => {
  const network = {
    interface: 'lo',
    addresses: ['198.19.1.2/32', 'fd74:7376:6d::2/128'],
    gateways: ['198.19.0.1'],
  };

  test('has its addresses, and routes to gateways outside of their networks', async () => {
    const script = 'cat /proc/net/fib_trie /proc/net/if_inet6 /proc/net/route';
    const stdout = await shell(script, {}, { network });
    expect(stdout).toMatch(/198\.19\.1\.2\n\s+\/32 host LOCAL/);
    expect(stdout).toMatch(/^fd747376006d00000000000000000002 /m);
    // The default route and the gateway's own. The file shows addresses in reversed byte order.
    expect(stdout).toMatch(/^lo\t00000000\t010013C6\t/m);
    expect(stdout).toMatch(/^lo\t010013C6\t00000000\t/m);
  });

  // struct rtmsg: family, prefix lengths, TOS, table, protocol, scope, type, flags; and attributes.
  const message = (prefix: number, type: number, ...attributes: string[]) =>
    `02${prefix.toString(16).padStart(2, '0')}0000fe04fd${type.toString(16).padStart(2, '0')}00000000${attributes.join('')}`;
  const LOOPBACK = '0800040001000000';

  test('has the routes that it is given, and its addresses bring none then', async () => {
    const routes = [
      message(24, 1, '080001000a630000', '0800040000000000', '0800060007000000'),
      message(16, 6, '080001000a640000'),
    ];
    const more = ['198.19.1.2/24', '198.19.2.2/24'];
    const given = { interface: 'lo', addresses: more, routes };
    const stdout = await shell('cat /proc/net/fib_trie /proc/net/route', {}, { network: given });
    for (const address of ['198.19.1.2', '198.19.2.2']) expect(stdout).toContain(`${address}\n`);
    expect(stdout.match(/^[*\w]+\t(?!Dest).*$/gm)?.map((line) => line.split(/\s+/).slice(0, 7))).toEqual([
      ['lo', '0000630A', '00000000', '0001', '0', '0', '7'],
      ['*', '0000640A', '00000000', '0001', '0', '0', '0'],
    ]);
  });

  test('is one of several', async () => {
    const moreNetworks = [{ interface: 'lo', addresses: ['198.19.3.2/32'] }];
    expect(await shell('cat /proc/net/fib_trie', {}, { network, moreNetworks })).toMatch(
      /198\.19\.1\.2\n[\s\S]*198\.19\.3\.2\n/,
    );
  });

  test.each(['', 'zz', message(24, 1).slice(2), message(24, 1).slice(1)])(
    'a route of %j is an error',
    async (route) => {
      await using session = await boot(startRequests({}, { network: { ...network, routes: [route] } }));
      const text = `network: not a route: ${route}`;
      expect(await session.error(MACHINE)).toMatchObject({ kind: 'bad-request', message: text });
    },
  );

  test('a route that the kernel refuses is an error', async () => {
    const wrong = message(33, 1, LOOPBACK);
    await using session = await boot(startRequests({}, { network: { ...network, routes: [wrong] } }));
    expect(await session.error(MACHINE)).toMatchObject({
      kind: 'setup-failed',
      errno: 22,
      message: expect.stringContaining(wrong),
    });
  });

  test.each([
    [{ ...network, interface: 'nope0' }, 'setup-failed', 'network interface nope0'],
    [{ ...network, addresses: ['198.19.1/32'] }, 'bad-request', 'not an address: 198.19.1/32'],
    [{ ...network, addresses: ['198.19.1.2/33'] }, 'bad-request', 'not an address: 198.19.1.2/33'],
    [{ ...network, gateways: ['nobody'] }, 'bad-request', 'not an address: nobody'],
  ])('%j is an error', async (wrong, kind, message) => {
    await using session = await boot(startRequests({}, { network: wrong }));
    expect(await session.error(MACHINE)).toMatchObject({ kind, message: expect.stringContaining(message) });
  });
});

describe('a privileged container', () => {
  test("has the machine's devices, and can change the kernel", async () => {
    const stdout = await shell(
      'stat -c "%n %t:%T" /dev/null /dev/kmsg; echo 4321 >/proc/sys/kernel/msgmax && cat /proc/sys/kernel/msgmax; ' +
        'group=/sys/fs/cgroup/$(cat /proc/sys/kernel/random/uuid); mkdir $group && rmdir $group && echo made; wc -c </proc/interrupts | grep -cv "^0$"; grep -c " /sys sysfs rw" /proc/mounts',
      { capabilities: [...CAPABILITIES] },
      { privileged: true },
    );
    expect(stdout).toBe('/dev/null 1:3\n/dev/kmsg 1:b\n4321\nmade\n1\n1\n');
  });
});

describe('a container with devices', () => {
  // The machine of this test is the host, whose devices these are.
  const open = (path: string) => `(exec 3<>${path}) 2>/dev/null && echo ${path} || echo "${path} refused"; `;

  test('opens its default devices, and no other, whatever files it makes', async () => {
    const made = 'mknod /dev/msg c 1 11; mknod /dev/zero2 c 1 5; mknod /dev/disk b 7 0; ';
    const stdout = await shell(
      `${made}${['/dev/null', '/dev/zero2', '/dev/msg', '/dev/disk'].map(open).join('')}ls /dev/msg`,
    );
    expect(stdout).toBe('/dev/null\n/dev/zero2\n/dev/msg refused\n/dev/disk refused\n/dev/msg\n');
  });

  test('has the devices of its request where the request says, with the rights that it gives', async () => {
    const devices: ContainerRequest['devices'] = [
      { path: '/dev/loop-control', target: '/dev/loop-control', access: ['read'] },
      { path: '/dev/loop-control', target: '/new/folder/control', access: ['mknod'] },
    ];
    const stdout = await shell(
      `stat -c "%n %t:%T" /dev/loop-control /new/folder/control; (exec 3</dev/loop-control) && echo read; ${open('/dev/loop-control')}`,
      {},
      { devices },
    );
    expect(stdout).toBe('/dev/loop-control a:ed\n/new/folder/control a:ed\nread\n/dev/loop-control refused\n');
  });

  test.each(['/dev/no-such-device', '/dev/fd', '/dev'])('cannot have %s, which is no device', async (path) => {
    const devices: ContainerRequest['devices'] = [{ path, target: '/dev/x', access: ['read'] }];
    await using session = await boot(startRequests({}, { devices }));
    expect(await session.error(CONTAINER)).toMatchObject({
      kind: 'setup-failed',
      message: expect.stringContaining(`no device ${path} in the guest's kernel`),
    });
  });

  test.each([
    ['/etc/passwd', 'File exists'],
    ['/etc/passwd/device', 'Not a directory'],
  ])('cannot have one at %s', async (target, message) => {
    const devices: ContainerRequest['devices'] = [{ path: '/dev/null', target, access: ['read'] }];
    await using session = await boot(startRequests({}, { devices }));
    expect(await session.error(1)).toMatchObject({ kind: 'setup-failed', message: expect.stringContaining(message) });
  });
});

describe('a container with secrets', () => {
  const secrets = [
    { name: 'token', contents: 'of the tenant' },
    { name: '.empty', contents: '' },
    { name: 'large', contents: 'x'.repeat(1024 * 1024) },
  ];

  test('has them as files in memory that all users read and none writes, over a mount at their place', async () => {
    const script = `cd /run/secrets; stat -c "%n %a %u %s" token .empty large .; cat token; echo;
      (echo x > token) 2>/dev/null || echo refused; rm -f token 2>/dev/null; ls -A | wc -l;
      grep -c "^tmpfs /run/secrets tmpfs ro,nosuid,nodev,noexec" /proc/mounts`;
    const below = { tmpfs: [{ path: '/run' }, { path: '/run/secrets' }] };
    expect(await shell(script, {}, { secrets, ...below })).toBe(
      'token 444 0 13\n.empty 444 0 0\nlarge 444 0 1048576\n. 755 0 100\nof the tenant\nrefused\n3\n1\n',
    );
    expect(await shell('cat /run/secrets/token', { user: '1000:1000' }, { secrets })).toBe('of the tenant');
  });

  test('has no folder for them without any', async () => {
    expect(await shell('ls -d /run/secrets 2>/dev/null || echo none')).toBe('none\n');
  });

  test.each(['', '.', '..', 'a/b', '../x'])(
    'cannot have one called %j, and the error has no contents',
    async (name) => {
      await using session = await boot(startRequests({}, { secrets: [{ name, contents: 'hidden' }] }));
      const error = await session.error(1);
      expect(error).toMatchObject({ kind: 'bad-request' });
      expect(JSON.stringify(error)).not.toContain('hidden');
    },
  );
});

describe('an init', () => {
  const withInit = { init: true };

  test('is process 1, has the program as its child, and ends with it', async () => {
    const { stdout, exited } = await run({ argv: ['sh', '-c', 'echo $$; exit 7'] }, withInit);
    expect(stdout).toMatch(/^[2-9]\n$/);
    expect(exited).toMatchObject({ code: 7 });
    expect((await run({ argv: ['sh', '-c', 'kill -9 $$'] }, withInit)).exited).toMatchObject({ code: 137 });
  });

  test('reaps orphans of the program, and has no streams open', async () => {
    const script =
      'orphan=$(sleep 0.1 >/dev/null & echo $!); while [ -e /proc/$orphan ]; do sleep 0.01; done; ls /proc/1/fd | wc -l';
    expect(await shell(script, {}, withInit)).toBe('3\n');
  });

  test('forwards signals to a program, whether it handles them or not', async () => {
    for (const [script, code] of [
      ['trap "exit 9" TERM; echo up; while :; do sleep 0.1; done', 9],
      ['echo up; exec sleep 1000', 143],
    ] as const) {
      await using session = await boot(startRequests({ argv: ['sh', '-c', script] }, withInit));
      await session.outputUpTo(1, 'stdout', 'up\n');
      session.send({ type: 'signal', request: 2, process: 1, signal: 15 });
      expect(await session.exited(1)).toMatchObject({ code });
    }
  });

  test('leaves the terminal to the program', async () => {
    const argv = ['sh', '-c', 'read line; echo "got $line"; exec sleep 1000'];
    await using session = await boot(startRequests({ argv, terminal: { columns: 80, rows: 24 } }, withInit));
    const terminal = await session.stream(1, 'terminal');
    terminal.write('hello\n');
    await session.outputUpTo(1, 'terminal', 'got hello');
    terminal.write('\x03');
    expect(await session.exited(1)).toMatchObject({ code: 130 });
  });

  test('reports a program that cannot be executed', async () => {
    await using session = await boot(startRequests({ argv: ['nope'] }, withInit));
    expect(await session.error(1)).toMatchObject({ kind: 'not-found' });
    expect(session.frames.map((frame) => frame.type)).toEqual(['hello', 'done', 'done', 'error']);
  });

  test('has no more privileges than the program', async () => {
    const seccomp = [{ code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }];
    const stdout = await shell('grep -hE "^(Uid|CapEff)" /proc/1/status', { user: 'sam', seccomp }, withInit);
    expect(stdout).toBe('Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n');
  });
});

describe('the environment', () => {
  test('has what Docker sets, unless it is given', async () => {
    expect((await shell('env', { env: ['A=1'] })).split('\n').sort()).toEqual(
      expect.arrayContaining([
        'A=1',
        'HOME=/root',
        'HOSTNAME=box',
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      ]),
    );
    const given = await shell('/bin/env', { env: ['HOME=/h', 'PATH=/p', 'HOSTNAME=n'], argv: ['/bin/env'] });
    expect(given).toBe('HOME=/h\nPATH=/p\nHOSTNAME=n\n');
  });
});

describe('a user', () => {
  const ids = (spec: Partial<ProcessSpec>) => shell('id -u; id -g; id -G; echo $HOME', spec);

  test.each([
    ['', '0\n0\n0 44\n/root\n'],
    ['sam', '1000\n1000\n1000 44 50\n/home/sam\n'],
    ['1000', '1000\n1000\n1000 44 50\n/home/sam\n'],
    ['sam:video', '1000\n44\n44\n/home/sam\n'],
    ['sam:77', '1000\n77\n77\n/home/sam\n'],
    ['4242', '4242\n0\n0\n/\n'],
    ['4242:4343', '4242\n4343\n4343\n/\n'],
  ])('%j is found as Docker does', async (user, expected) => {
    expect(await ids({ user })).toBe(expected);
  });

  test('gets further groups', async () => {
    expect(await ids({ user: 'daemon', groups: ['video', '999'] })).toBe('1\n1\n1 44 999\n/usr/sbin\n');
  });

  test('can open its own /dev/stdout', async () => {
    expect(await shell('echo mine >/dev/stdout', { user: 'sam' })).toBe('mine\n');
  });

  test.each([
    ['nobody-here', 'unable to find user nobody-here: no matching entries in passwd file'],
    ['sam:nogroup', 'unable to find group nogroup: no matching entries in group file'],
  ])('%s is an error', async (user, message) => {
    await using session = await boot(startRequests({ user }));
    expect(await session.error(1)).toEqual({ type: 'error', request: 1, kind: 'no-such-user', message });
  });
});

describe('a program that cannot be executed', () => {
  test.each([
    [['nope'], 'not-found', 'exec: "nope": executable file not found in $PATH'],
    [['/bin/nope'], 'not-found', 'exec: "/bin/nope": No such file or directory'],
    [['/opt/not-executable'], 'cannot-invoke', 'exec: "/opt/not-executable": Permission denied'],
    [['/etc'], 'cannot-invoke', 'exec: "/etc": is a directory: Permission denied'],
    // As runc: Go's LookPath skips files that are not executable. Docker's exit code 127 follows.
    [['not-executable'], 'not-found', 'exec: "not-executable": executable file not found in $PATH'],
    [['bad-interpreter'], 'cannot-invoke', 'exec: "bad-interpreter": Permission denied'],
    [['no-format'], 'cannot-invoke', 'exec: "no-format": Exec format error'],
    [['/etc/passwd/x'], 'cannot-invoke', 'exec: "/etc/passwd/x": Not a directory'],
    [[''], 'not-found', 'exec: "": No such file or directory'],
  ])('%j is answered with its kind', async (argv, kind, message) => {
    await using session = await boot(startRequests({ argv }));
    expect(await session.error(1)).toMatchObject({ kind, message });
    expect(await session.output(1, 'stdout')).toBe('');
    expect(session.frames.map((frame) => frame.type)).toEqual(['hello', 'done', 'done', 'error']);
  });
});

describe('a terminal', () => {
  test('is the controlling terminal, has a size, and is resized', async () => {
    await using session = await boot(
      startRequests({
        argv: [
          'sh',
          '-c',
          'trap "stty size; exit 5" WINCH; stty size; echo $TERM; ls /dev/console; echo go; sleep 1000 & wait',
        ],
        terminal: { columns: 80, rows: 24 },
      }),
    );
    expect(await session.outputUpTo(1, 'terminal', 'go\r\n')).toBe('24 80\r\nxterm\r\n/dev/console\r\ngo\r\n');
    session.send({ type: 'resize', request: 2, process: 1, columns: 132, rows: 50 });
    expect(await session.output(1, 'terminal')).toBe('50 132\r\n');
    expect(await session.exited(1)).toMatchObject({ code: 5 });
  });

  test('passes input on', async () => {
    await using session = await boot(
      startRequests({
        argv: ['sh', '-c', 'read line; echo "got $line"; exec sleep 1000'],
        terminal: { columns: 80, rows: 24 },
      }),
    );
    const terminal = await session.stream(1, 'terminal');
    terminal.write('hello\n');
    await session.outputUpTo(1, 'terminal', 'got hello');
    session.send({ type: 'signal', request: 2, process: 1, signal: 9 });
    expect(await session.exited(1)).toMatchObject({ signal: 9 });
  });

  test('goes on in both directions after all processes have closed it, until its process ends', async () => {
    const script = `exec <>/dev/null >&0 2>&0
      for n in 1 2 3; do sleep 0.1; echo "line $n" >/dev/console; done
      sleep 0.1; read typed </dev/console; sleep 0.1; echo "read $typed" >/dev/console; sleep 0.1; exit 7`;
    await using session = await boot(
      startRequests({ argv: ['sh', '-c', script], terminal: { columns: 80, rows: 24 } }),
    );
    const terminal = await session.stream(1, 'terminal');
    const shown = await session.outputUpTo(1, 'terminal', 'line 3\r\n');
    terminal.write('hello\n');
    const rest = await session.output(1, 'terminal');
    expect((shown + rest).split('\r\n').sort()).toEqual(['', 'hello', 'line 1', 'line 2', 'line 3', 'read hello']);
    expect(await session.exited(1)).toMatchObject({ code: 7 });
  });

  test('delivers all output before its end', async () => {
    await using session = await boot(
      startRequests({
        argv: ['sh', '-c', 'head -c 300000 /dev/zero | tr "\\0" x'],
        terminal: { columns: 80, rows: 24 },
      }),
    );
    expect((await session.output(1, 'terminal')).length).toBe(300_000);
  });
});

describe('a further process', () => {
  test('joins the namespaces of the first, and ends with it', async () => {
    await using session = await boot(startRequests({ argv: ['sleep', '1000'] }));
    await session.answer(1);
    session.send({
      type: 'process',
      request: 2,
      container: BOX,
      id: 2,
      argv: ['sh', '-c', 'cat /proc/1/cmdline | tr "\\0" " "; uname -n; id -u; exit 4'],
      user: 'sam',
    });
    expect(await session.output(2, 'stdout')).toBe('sleep 1000 box\n1000\n');
    expect(await session.exited(2)).toMatchObject({ code: 4 });

    session.send({ type: 'process', request: 3, container: BOX, id: 3, argv: ['sleep', '1000'] });
    await session.answer(3);
    session.send({ type: 'signal', request: 4, process: 1, signal: 9 });
    expect(await session.exited(1)).toMatchObject({ signal: 9 });
    expect(await session.exited(3)).toMatchObject({ signal: 9 });
  });

  test('that is signalled with its group takes along what it has started, and alone it does not', async () => {
    await using session = await boot(startRequests({ argv: ['sleep', '1000'] }));
    await session.answer(1);
    for (const id of [2, 3]) {
      const argv = ['sh', '-c', `sleep ${id}000 & echo up; wait`];
      session.send({ type: 'process', request: id, container: BOX, id, argv });
      await session.outputUpTo(id, 'stdout', 'up\n');
    }
    session.send({ type: 'signal', request: 4, process: 2, signal: 9, group: true });
    session.send({ type: 'signal', request: 5, process: 3, signal: 9 });
    for (const id of [2, 3]) expect(await session.exited(id)).toMatchObject({ signal: 9 });
    // The stream ends with the last process that has it.
    expect(await session.output(2, 'stdout')).toBe('');
    session.send({
      type: 'process',
      request: 6,
      container: BOX,
      id: 4,
      argv: ['sh', '-c', 'cat /proc/[0-9]*/cmdline'],
    });
    const running = await session.output(4, 'stdout');
    expect(running).toContain('sleep\x003000');
    expect(running).not.toContain('sleep\x002000');
  });

  test('has a terminal of its own', async () => {
    await using session = await boot(startRequests({ argv: ['sleep', '1000'] }));
    await session.answer(1);
    session.send({
      type: 'process',
      request: 2,
      container: BOX,
      id: 2,
      argv: ['sh', '-c', 'stty size; echo $TERM'],
      terminal: { columns: 33, rows: 11 },
    });
    expect(await session.output(2, 'terminal')).toBe('11 33\r\nxterm\r\n');
  });

  test('joins the cgroup that process 1 has moved to, where it keeps no controller from being enabled', async () => {
    const nest = 'cd /sys/fs/cgroup && mkdir leaf && echo $$ >leaf/cgroup.procs && echo moved && exec sleep 1000';
    await using session = await boot(
      startRequests({ argv: ['sh', '-c', nest], capabilities: [...CAPABILITIES] }, { privileged: true }),
    );
    await session.outputUpTo(1, 'stdout', 'moved');
    session.send({ type: 'process', request: 2, container: BOX, id: 2, argv: ['cat', '/proc/self/cgroup'] });
    expect(await session.output(2, 'stdout')).toMatch(/^0::\/leaf$/m);
  });

  test('is refused with a taken id, while process 1 is started, and after the end', async () => {
    await using session = await boot();
    const early: HostFrame = { type: 'process', request: 2, container: BOX, id: 2, argv: ['true'] };
    // In one piece: the agent reads the last one before it can know that process 1 has started.
    const frames = [...startRequests({ argv: ['sleep', '1000'] }), early];
    session.sendBytes(Buffer.concat(frames.map(encodeFrame)));
    expect(await session.error(2)).toMatchObject({ kind: 'bad-request', message: `container ${BOX} is not running` });
    await session.answer(1);
    session.send({ type: 'process', request: 3, container: BOX, id: 1, argv: ['true'] });
    expect(await session.error(3)).toMatchObject({ kind: 'bad-request', message: 'process 1 exists' });
    session.send({ type: 'signal', request: 5, process: 1, signal: 9 });
    await session.exited(1);
    session.send({ type: 'process', request: 6, container: BOX, id: 3, argv: ['true'] });
    expect(await session.error(6)).toMatchObject({ kind: 'bad-request', message: `container ${BOX} is not running` });
    session.send({ type: 'signal', request: 7, process: 1, signal: 9 });
    expect(await session.error(7)).toMatchObject({ kind: 'no-such-process' });
  });
});

describe('requests in the wrong order', () => {
  test('are refused one by one, and leave a machine that works', async () => {
    await using session = await boot();
    const [machine, container, process] = startRequests({ argv: ['echo', 'works'] });
    session.send({ ...process, request: 11 });
    expect(await session.error(11)).toMatchObject({ kind: 'no-such-container', message: `no container ${BOX}` });
    session.send({ ...container, request: 12 });
    expect(await session.error(12)).toMatchObject({ kind: 'bad-request', message: 'the machine is not set up' });
    session.send({ type: 'remove', request: 13, container: BOX });
    expect(await session.error(13)).toMatchObject({ kind: 'no-such-container' });

    session.send(machine);
    session.send({ ...machine, request: 14 });
    session.send(container);
    session.send({ ...container, request: 15 });
    expect(await session.error(14)).toMatchObject({ kind: 'bad-request', message: 'the machine was set up before' });
    expect(await session.error(15)).toMatchObject({ kind: 'bad-request', message: `container ${BOX} exists` });
    session.send(process);
    expect(await session.output(1, 'stdout')).toBe('works\n');
  });

  test('for shares of a machine without the device are an error', async () => {
    await using session = await boot([{ type: 'machine', request: MACHINE, shares: true }]);
    expect(await session.error(MACHINE)).toMatchObject({
      kind: 'setup-failed',
      message: expect.stringContaining('mount the shared folders'),
    });
  });

  test('fail too after one that they depend on has failed', async () => {
    await using session = await boot(startRequests({}, { network: { interface: 'nope0' } }));
    expect(await session.error(MACHINE)).toMatchObject({ kind: 'setup-failed' });
    expect(await session.error(CONTAINER)).toMatchObject({ message: 'the machine is not set up' });
    expect(await session.error(1)).toMatchObject({ kind: 'no-such-container' });
  });
});

describe('several containers in one machine', () => {
  const container = (id: number, more: Partial<ContainerRequest> = {}): HostFrame => ({
    type: 'container',
    request: 100 + id,
    id: BOX + id,
    hostname: `box-${id}`,
    root: { device: image.device },
    ...more,
  });
  const process = (of: number, id: number, script: string, more: Partial<ProcessRequest> = {}): HostFrame => ({
    type: 'process',
    request: 200 + id,
    container: BOX + of,
    id,
    argv: ['sh', '-c', script],
    ...more,
  });

  test('have roots, names and processes of their own, and one lives on when another ends', async () => {
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(21),
      container(22),
      process(21, 1, 'echo first >/file; echo up; sleep 1000'),
      process(22, 2, 'echo second >/file; echo up; sleep 1000'),
    ]);
    await session.outputUpTo(1, 'stdout', 'up\n');
    await session.outputUpTo(2, 'stdout', 'up\n');
    const started = 'until grep -qs sleep /proc/[0-9]*/comm; do :; done';
    const look = `${started}; uname -n; cat /file; grep -c sleep /proc/[0-9]*/comm | grep -c ":1"`;
    session.send(process(21, 3, look));
    session.send(process(22, 4, look));
    expect(await session.output(3, 'stdout')).toBe('box-21\nfirst\n1\n');
    expect(await session.output(4, 'stdout')).toBe('box-22\nsecond\n1\n');

    session.send(process(21, 5, 'sleep 1000'));
    await session.answer(205);
    session.send({ type: 'signal', request: 1, process: 1, signal: 9 });
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, container: BOX + 21, signal: 9 });
    expect(await session.exited(5)).toEqual({ type: 'exited', process: 5, container: BOX + 21, signal: 9 });

    session.send(process(22, 6, 'cat /file'));
    expect(await session.output(6, 'stdout')).toBe('second\n');
    expect(session.frames.some((frame) => frame.type === 'exited' && frame.process === 2)).toBe(false);
  });

  test('are reported on separately by the tools', async () => {
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(31),
      container(32),
      process(31, 1, 'echo >/of-31; echo up; exec sleep 31000'),
      process(32, 2, 'echo >/of-32; echo up; exec sleep 32000'),
    ]);
    await session.outputUpTo(1, 'stdout', 'up\n');
    await session.outputUpTo(2, 'stdout', 'up\n');
    session.send(process(31, 3, '', { argv: ['changes'], tool: true }));
    expect(await session.output(3, 'stdout')).toContain('of-31');
    session.send(process(32, 4, '', { argv: ['changes'], tool: true }));
    expect(await session.output(4, 'stdout')).not.toContain('of-31');
    session.send(process(32, 5, '', { argv: ['processes'], tool: true }));
    const processes = await session.output(5, 'stdout');
    expect(processes).toContain('sleep 32000');
    expect(processes).not.toContain('sleep 31000');
  });

  test('can be removed after their end, down to none, and their ids used again', async () => {
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(41),
      process(41, 1, 'echo once >/file; exec sleep 1000'),
    ]);
    await session.answer(201);
    session.send({ type: 'remove', request: 2, container: BOX + 41 });
    expect(await session.error(2)).toMatchObject({
      kind: 'bad-request',
      message: `process 1 runs in container ${BOX + 41}`,
    });
    session.send({ type: 'signal', request: 3, process: 1, signal: 9 });
    await session.exited(1);
    session.send({ type: 'remove', request: 4, container: BOX + 41 });
    expect(await session.answer(4)).toEqual({ type: 'done', request: 4 });
    session.send(process(41, 2, 'true'));
    expect(await session.error(202)).toMatchObject({ kind: 'no-such-container' });

    session.send({ ...container(41), request: 5 });
    expect(await session.answer(5)).toEqual({ type: 'done', request: 5 });
    session.send(process(41, 3, 'ls /file 2>&1; grep -c " /run/containers" /proc/mounts'));
    expect(await session.output(3, 'stdout')).toMatch(/No such file.*\n0\n$/);
  });

  test('can be removed if they never had a process', async () => {
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(51),
      { type: 'remove', request: 1, container: BOX + 51 },
      { ...container(51), request: 2 },
    ]);
    expect(await session.answer(1)).toEqual({ type: 'done', request: 1 });
    expect(await session.answer(2)).toEqual({ type: 'done', request: 2 });
  });

  test('can be removed as soon as a failure of process 1 is reported', async () => {
    await using session = await boot([{ type: 'machine', request: MACHINE }, container(61)]);
    session.send(process(61, 1, '', { argv: ['nope'] }));
    expect(await session.error(201)).toMatchObject({ kind: 'not-found' });
    session.send(process(61, 2, 'true'));
    expect(await session.error(202)).toMatchObject({ message: `container ${BOX + 61} is not running` });
    session.send({ type: 'remove', request: 1, container: BOX + 61 });
    expect(await session.answer(1)).toEqual({ type: 'done', request: 1 });
  });

  test('leave no cgroup when they are removed, however deeply they have nested their own', async () => {
    const nest = 'cd /sys/fs/cgroup && for i in 0 1 2 3 4; do mkdir -p a/a/a/a/a && cd a/a/a/a/a; done';
    const privileged = { capabilities: [...CAPABILITIES] };
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(71, { privileged: true }),
      process(71, 1, nest, privileged),
    ]);
    expect(await session.exited(1)).toMatchObject({ code: 0 });
    session.send({ type: 'remove', request: 1, container: BOX + 71 });
    session.send({ ...container(71, { privileged: true }), request: 2 });
    session.send(process(71, 2, 'cd /sys/fs/cgroup && ls -d a || mkdir a && rmdir a', privileged));
    expect(await session.output(2, 'stdout')).toBe('');
    expect(await session.exited(2)).toMatchObject({ code: 0 });
  });

  test('cannot have the same scratch disk', async () => {
    using scratch = makeScratchDisk();
    const root = { device: image.device, scratch: scratch.device };
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(81, { root }),
      container(82, { root }),
      { type: 'remove', request: 1, container: BOX + 81 },
      { ...container(82, { root }), request: 2 },
    ]);
    expect(await session.error(182)).toMatchObject({
      kind: 'bad-request',
      message: `container ${BOX + 81} has scratch disk ${scratch.device}`,
    });
    expect(await session.answer(2)).toEqual({ type: 'done', request: 2 });
  });

  test('in the pid namespace of another one end alone, also while they are frozen, with all that they have started', async () => {
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(101),
      container(102, { processesOf: BOX + 101 }),
      process(102, 9, 'true'),
      process(101, 1, 'echo up; exec sleep 10100'),
    ]);
    expect(await session.error(209)).toMatchObject({
      kind: 'bad-request',
      message: `container ${BOX + 101}, whose pid namespace it joins, is not running`,
    });
    await session.outputUpTo(1, 'stdout', 'up\n');
    session.send(process(102, 2, 'sleep 10200 & echo up; wait'));
    await session.outputUpTo(2, 'stdout', 'up\n');
    session.send(process(102, 3, 'exec sleep 10201'));
    await session.answer(203);
    session.send(process(102, 4, '', { argv: ['freeze'], tool: true }));
    expect(await session.exited(4)).toMatchObject({ code: 0 });
    session.send({ type: 'signal', request: 1, process: 2, signal: 9 });
    expect(await session.exited(2)).toEqual({ type: 'exited', process: 2, container: BOX + 102, signal: 9 });
    expect(await session.exited(3)).toMatchObject({ signal: 9 });
    session.send({ type: 'remove', request: 2, container: BOX + 102 });
    expect(await session.answer(2)).toEqual({ type: 'done', request: 2 });
    session.send(process(101, 5, 'cat /proc/[0-9]*/cmdline | tr "\\0" " "'));
    const left = await session.output(5, 'stdout');
    expect(left).toContain('sleep 10100');
    expect(left).not.toContain('sleep 102');
  });

  test('in the pid namespace of another one can be removed as soon as their end is reported', async () => {
    const ids = Array.from({ length: 20 }, (_, index) => 10 + index);
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(111),
      process(111, 1, 'echo up; exec sleep 1000'),
      container(112, { processesOf: BOX + 111 }),
    ]);
    await session.outputUpTo(1, 'stdout', 'up\n');
    session.send(process(112, 2, 'exec sleep 11200'));
    await session.answer(202);
    for (const id of ids) session.send(process(112, id, 'exec sleep 11200'));
    for (const id of ids) await session.answer(200 + id);
    session.killAtOnce('11200', ids.length + 1);
    expect(await session.exited(2)).toMatchObject({ signal: 9 });
    // The others are reaped, though no cgroup counts them any more.
    const ended = session.frames.flatMap((frame) => (frame.type === 'exited' ? [frame.process] : []));
    expect(ended.slice(0, ended.indexOf(2)).sort()).toEqual(ids);
    session.send({ type: 'remove', request: 2, container: BOX + 112 });
    expect(await session.answer(2)).toEqual({ type: 'done', request: 2 });
  });

  test("never have a tool of the agent's mounts as process 1", async () => {
    await using session = await boot([
      { type: 'machine', request: MACHINE },
      container(91),
      process(91, 1, '', { argv: ['statistics'], tool: true }),
      process(91, 2, 'cat /proc/1/comm'),
    ]);
    expect(await session.error(201)).toMatchObject({
      kind: 'bad-request',
      message: `tool statistics needs container ${BOX + 91} to run`,
    });
    expect(await session.output(2, 'stdout')).toBe('sh\n');
  });

  test('number at most 64', async () => {
    const ids = Array.from({ length: 65 }, (_, index) => 300 + index);
    await using session = await boot([{ type: 'machine', request: MACHINE }, ...ids.map((id) => container(id))]);
    expect(await session.answer(100 + 363)).toMatchObject({ type: 'done' });
    expect(await session.error(100 + 364)).toMatchObject({ message: 'more than 64 containers' });
  });
});

describe('the agent', () => {
  test('answers bad frames with errors and lives on', async () => {
    await using session = await boot();
    const frame = (type: number, request: number, payload: Buffer, length = payload.length) => {
      const header = Buffer.alloc(8);
      header.writeUInt32LE(length, 0);
      header.writeUInt16LE(type, 4);
      header.writeUInt16LE(request, 6);
      return Buffer.concat([header, payload]);
    };
    session.sendBytes(frame(0x77, 1, Buffer.alloc(3)));
    session.sendBytes(frame(0x01, 2, Buffer.from('0100ff', 'hex')));
    session.sendBytes(frame(0x02, 3, Buffer.alloc(0)));
    session.sendBytes(frame(0x02, 4, Buffer.alloc(5_000_000)));
    session.send({ type: 'ping', request: 5 });
    expect(await session.answer(5)).toEqual({ type: 'pong', request: 5 });
    expect(session.frames.slice(1, -1).map((error) => ('kind' in error ? error.kind : error.type))).toEqual([
      'unsupported',
      'bad-request',
      'bad-request',
      'too-large',
    ]);
  });

  test('answers ten thousand bad frames, even if the answers are read late', async () => {
    await using session = await boot();
    session.control?.pause();
    const bad = Buffer.from([0, 0, 0, 0, 0x77, 0, 1, 0]);
    session.sendBytes(Buffer.concat(Array.from({ length: 10_000 }, () => bad)));
    session.send({ type: 'ping', request: 2 });
    session.control?.resume();
    await session.answer(2);
    expect(session.frames.length).toBe(10_002);
  });

  test('reports the step of the set-up that failed', async () => {
    await using session = await boot(startRequests({}, { root: { device: '/dev/null' } }));
    expect(await session.error(CONTAINER)).toMatchObject({
      kind: 'setup-failed',
      errno: 15,
      message: expect.stringContaining('mount image /dev/null'),
    });
  });

  test('ends on shutdown, with all containers', async () => {
    await using session = await boot(startRequests({ argv: ['sleep', '1000'] }));
    await session.answer(1);
    session.send({ type: 'shutdown', request: 2 });
    await session.end();
  });
});
