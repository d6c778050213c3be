// The agent's tools in a real container on the host's kernel, with tar(1) at the other end of their
// archives.
import { execFileSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProcessSpec } from '../../../sandbox/agent/protocol.js';
import { archiveHost } from '../../../sandbox/containers/host-archive.js';
import { Multiplexer } from '../../../sandbox/containers/multiplexer.js';
import { defer } from '../../../sandbox/deferred.js';
import { AgentUnderTest, buildAgent } from './agent-under-test.js';
import { type LoopDevice, makeContainerImage } from './container-image.js';

/** The id of the container: see container.host.test.ts. */
const BOX = randomInt(1, 2 ** 31);

let agent: string;
let image: LoopDevice;

beforeAll(() => {
  agent = buildAgent();
  image = makeContainerImage();
});

afterAll(() => image[Symbol.dispose]());

/** A container of which nothing runs but the tools. */
class Guest implements AsyncDisposable {
  readonly session = new AgentUnderTest();
  #last = 1;

  static async boot(): Promise<Guest> {
    const guest = new Guest();
    await guest.session.boot(agent);
    guest.session.send({ type: 'machine', request: 1001 });
    const root = { device: image.device };
    guest.session.send({ type: 'container', request: 1002, id: BOX, hostname: 'box', root });
    guest.session.send({ type: 'process', request: 1, container: BOX, id: 1, argv: ['hold'], tool: true });
    await guest.session.answer(1);
    return guest;
  }

  async run(process: Partial<ProcessSpec> & { argv: string[] }, stdin?: Buffer) {
    const id = ++this.#last;
    this.session.send({ type: 'process', request: id, container: BOX, id, stdin: stdin !== undefined, ...process });
    if (stdin !== undefined) (await this.session.stream(id, 'stdin')).end(stdin);
    const chunks: Buffer[] = [];
    const stdout = async () => {
      for await (const chunk of await this.session.stream(id, 'stdout')) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    };
    const [out, err, exited] = await Promise.all([
      stdout(),
      this.session.output(id, 'stderr'),
      this.session.exited(id),
    ]);
    return { out, err, code: exited.code };
  }

  /** What a tool answers. */
  async tool(argv: string[], stdin?: Buffer): Promise<Buffer> {
    const { out, err, code } = await this.run({ argv, tool: true }, stdin);
    expect({ err, code }).toEqual({ err: '', code: 0 });
    return out;
  }

  async shell(script: string): Promise<string> {
    const { out, err, code } = await this.run({ argv: ['sh', '-c', script] });
    expect({ err, code }).toEqual({ err: '', code: 0 });
    return out.toString();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.session[Symbol.asyncDispose]();
  }
}

function tar(args: string[], input?: Buffer): Buffer {
  return execFileSync('tar', args, { input, maxBuffer: 2 ** 26, env: { ...process.env, TZ: 'UTC' } });
}

const TREE = [
  'mkdir -p /t/dir/empty && cd /t',
  'printf data > file && ln file dir/hard && ln -s ../file dir/soft && mkfifo pipe',
  'head -c 1000000 /dev/zero | tr "\\0" x > large',
  'printf long > "dir/$(printf %0200d 1)"',
  'chown 12:345678 file && chmod 4751 file && chmod 1700 dir && touch -d "2001-02-03 04:05:06.789" dir/empty file',
].join(' && ');

describe('an archive', () => {
  test('of files is what tar(1) understands', async () => {
    await using guest = await Guest.boot();
    await guest.shell(TREE);
    const archive = await guest.tool(['archive', '/t', 'tree']);
    const lines = tar(['--full-time', '--numeric-owner', '-tvf', '-'], archive).toString().trimEnd().split('\n').sort();
    expect(lines.map((line) => line.replace(/ +/g, ' '))).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^drwx-----T 0\/0 0 .* tree\/dir\/$/),
        expect.stringMatching(/^drwxr-xr-x 0\/0 0 2001-02-03 04:05:06(\.789)? tree\/dir\/empty\/$/),
        expect.stringMatching(/^prw-r--r-- 0\/0 0 .* tree\/pipe$/),
        expect.stringMatching(/^lrwxrwxrwx 0\/0 0 .* tree\/dir\/soft -> \.\.\/file$/),
        expect.stringMatching(/^-rw-r--r-- 0\/0 1000000 .* tree\/large$/),
        expect.stringMatching(/tree\/dir\/0{199}1$/),
      ]),
    );
    const file = lines.filter((line) => /\b(12\/345678)\b/.test(line));
    expect(file).toHaveLength(2);
    expect(file.filter((line) => line.startsWith('-rwsr-x--x'))).toHaveLength(1);
    expect(file.filter((line) => / link to /.test(line))).toHaveLength(1);
  });

  test('of the root has every file, and nothing that the kernel only shows', async () => {
    await using guest = await Guest.boot();
    await guest.shell('echo text > /made');
    const names = tar(['-tf', '-'], await guest.tool(['archive', '/', 'root']))
      .toString()
      .split('\n');
    const below = (path: string) => names.filter((name) => name.startsWith(path));
    expect(names).toContain('root/made');
    expect(['root/proc/', 'root/sys/', 'root/dev/pts/'].map(below)).toEqual([
      ['root/proc/'],
      ['root/sys/'],
      ['root/dev/pts/'],
    ]);
    const shown = tar(['-tf', '-'], await guest.tool(['archive', '/proc/sys/kernel/random', 'random']));
    expect(shown.toString()).toContain('random/uuid\n');
  });

  test('is extracted as it was made, and again over itself', async () => {
    await using guest = await Guest.boot();
    await guest.shell(TREE);
    await guest.shell('cd /t && touch -h -d @-1 dir/soft && touch -d @-1.25 pipe && touch -d @9000000000 large');
    const list =
      "find . -printf '%y %m %U:%G %s %T@ %n %l %p\\n' | sort | sed 's/^\\(d.* \\)[0-9]* \\([0-9.]* \\)/\\1\\2/'";
    const before = await guest.shell(`cd /t && ${list}; md5sum large file`);
    const archive = await guest.tool(['archive', '/t', '.']);
    for (let time = 0; time < 2; time++) {
      await guest.shell('mkdir -p /u');
      await guest.tool(['extract', '/u', 'owners'], archive);
      expect(await guest.shell(`cd /u && ${list}; md5sum large file`)).toBe(before);
    }
    await guest.shell('mkdir /v');
    await guest.tool(['extract', '/v'], archive);
    expect(await guest.shell('find /v ! -user 0 -o ! -group 0')).toBe('');
  });

  test.each([['--format=gnu'], ['--format=pax'], ['--format=ustar'], ['--format=v7']])(
    'of tar %s is extracted',
    async (format) => {
      const folder = mkdtempSync(join(tmpdir(), 'agent-tar-'));
      const name = format.endsWith('v7') || format.endsWith('ustar') ? 'name' : 'n'.repeat(150);
      execFileSync('sh', ['-c', `mkdir d && echo text > d/${name} && ln -s ${name} d/link`], { cwd: folder });
      const archive = tar([format, '-C', folder, '-cf', '-', 'd']);
      rmSync(folder, { recursive: true });
      await using guest = await Guest.boot();
      await guest.tool(['extract', '/'], archive);
      expect(await guest.shell(`cat /d/link; readlink /d/link`)).toBe(`text\n${name}\n`);
    },
  );

  test("of the host's side of `tsvm cp` is extracted", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'agent-tar-'));
    const name = 'n'.repeat(200);
    const script = `
      mkdir -p d/empty && echo text > d/${name} && ln d/${name} d/hard && ln -s ${name} d/link && mkfifo d/pipe
      chown 3000000:3000000 d/${name}; chmod 4711 d/${name}; touch -d @-1.5 d/pipe; touch -d @1000000000.123456 d/empty d/hard d`;
    execFileSync('sh', ['-c', script], { cwd: folder });
    const chunks: Buffer[] = [];
    for await (const chunk of archiveHost(join(folder, 'd'), 'd')) chunks.push(chunk);
    const list = "cd d && find . ! -type l -printf '%y %m %U:%G %n %T@ %p\n' | sort; readlink link; cat hard";
    const before = execFileSync('sh', ['-c', list], { cwd: folder }).toString();
    rmSync(folder, { recursive: true });
    await using guest = await Guest.boot();
    await guest.tool(['extract', '/', 'owners'], Buffer.concat(chunks));
    expect(await guest.shell(`cd / && ${list}`)).toBe(before);
  });

  test.each([
    ['that is none', Buffer.from('x'.repeat(1024)), /checksum/],
    ['that is cut short', tar(['-cf', '-', '-C', '/etc', 'passwd']).subarray(0, 700), /cut short/],
    ['with a path that climbs', tar(['-cPf', '-', '--transform', 's,^,../../,', '-C', '/etc', 'passwd']), /\.\./],
  ])('%s is refused', async (_, archive, message) => {
    await using guest = await Guest.boot();
    const { err, code } = await guest.run({ argv: ['extract', '/'], tool: true }, archive);
    expect(code).toBe(1);
    expect(err).toMatch(message);
    expect(await guest.shell('echo alive')).toBe('alive\n');
  });
});

test('the layer and the changes say what was added, changed and deleted', async () => {
  await using guest = await Guest.boot();
  const file = (await guest.shell('ls -d /etc/* | head -n 1')).trim();
  await guest.shell(`rm -r ${file}; mkdir /new; echo 1 > /new/file; touch /etc`);
  const changes = (await guest.tool(['changes']))
    .toString()
    .split('\0')
    .filter((text) => text !== '')
    .sort();
  expect(changes).toEqual(expect.arrayContaining(['A /new', 'A /new/file', 'c /etc', `D ${file}`]));
  const names = tar(['-tf', '-'], await guest.tool(['layer']))
    .toString()
    .trimEnd()
    .split('\n');
  expect(names).toEqual(expect.arrayContaining(['./', 'new/', 'new/file', 'etc/', `etc/.wh.${file.slice(5)}`]));
});

test('symbolic links are followed to their end, which need not exist', async () => {
  await using guest = await Guest.boot();
  await guest.shell(
    'mkdir -p /l/real && cd /l && ln -s real dir && ln -s ../new real/rel && ln -s /l/dir/rel abs && ln -s abs chain && ln -s loop loop',
  );
  const follow = async (path: string) => (await guest.tool(['follow', path])).toString();
  for (const path of ['/l/none', '/l/real']) expect(await follow(path)).toBe(`${path}\0`);
  for (const path of ['/l/dir/rel', '/l/abs', '/l/chain']) expect(await follow(path)).toBe('/l/dir/../new\0');
  for (const [path, message] of [
    ['/l/loop', 'Symbolic link loop'],
    ['/bin/sh/none', 'Not a directory'],
    [`/${'x'.repeat(4096)}`, 'Filename too long'],
  ]) {
    const { err, code } = await guest.run({ argv: ['follow', path!], tool: true });
    expect([code, err]).toEqual([1, `${path}: ${message}\n`]);
  }
});

test('files are read, written, listed and looked at, whatever their names', async () => {
  await using guest = await Guest.boot();
  const data = readFileSync('/proc/self/exe').subarray(0, 300_000);
  await guest.tool(['write', '/a b\n', '640'], data);
  expect((await guest.tool(['read', '/a b\n'])).equals(data)).toBe(true);
  expect((await guest.tool(['stat', '/a b\n'])).toString()).toMatch(/^f 640 0 0 300000 \d+\.\d{9} \/a b\n\0$/);
  expect((await guest.tool(['list', '/'])).toString().split('\0')).toContainEqual(
    expect.stringMatching(/^f 640 .* a b\n$/),
  );
  for (const mode of ['', ' 644', '-1', '648', '10000']) {
    const { err, code } = await guest.run({ argv: ['write', '/x', mode], tool: true });
    expect({ err, code }).toEqual({ err: 'arguments: Invalid argument\n', code: 1 });
  }
  const { err, code } = await guest.run({ argv: ['read', '/none'], tool: true });
  expect({ err, code }).toEqual({ err: '/none: No such file or directory\n', code: 1 });
});

test('what happens in a directory is told', async () => {
  await using guest = await Guest.boot();
  guest.session.send({ type: 'process', request: 50, container: BOX, id: 50, argv: ['watch', '/tmp'], tool: true });
  await guest.session.outputUpTo(50, 'stdout', 'ready');
  await guest.shell('echo 1 > /tmp/file; mv /tmp/file /tmp/other; rm /tmp/other');
  const seen = await guest.session.outputUpTo(50, 'stdout', 'delete other\0');
  const events = seen.split('\0').filter((text) => text.trim() !== '');
  expect(events).toEqual(['create file', 'change file', 'delete file', 'create other', 'delete other']);
});

test('a tool ends when the host closes its stdout, whatever it waits for', async () => {
  await using guest = await Guest.boot();
  const servers = guest.session.spawnInside(process.execPath, '-e', SERVERS);
  await once(servers.stdout as Readable, 'data');
  await guest.shell('mkfifo /tmp/pipe');
  const start = async (id: number, argv: string[], more: Partial<ProcessSpec> = {}) => {
    guest.session.send({ type: 'process', request: id, container: BOX, id, argv, ...more });
    await guest.session.answer(id);
    return guest.session.stream(id, 'stdout');
  };
  const silent = [
    ['watch', '/tmp'],
    ['connect', '8084'],
    ['read', '/tmp/pipe'],
    ['write', '/tmp/pipe', '644'],
    ['listen', '/tmp/socket', '600', '0', '0'],
  ];
  for (const [n, argv] of silent.entries()) {
    // Its stdin stays open.
    const stdout = await start(51 + n, argv, { tool: true, stdin: true });
    if (argv[0] === 'watch') await guest.session.outputUpTo(51 + n, 'stdout', 'ready');
    stdout.destroy();
    expect(await guest.session.exited(51 + n)).toMatchObject({ signal: 9 });
  }
  // A program is not a tool: it goes on, and is told by its pipe.
  const program = 'exec 3>&1 >/dev/null; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo >&3; exit 3';
  (await start(60, ['sh', '-c', `trap '' PIPE; ${program}`])).destroy();
  await guest.shell('touch /tmp/go');
  expect(await guest.session.exited(60)).toMatchObject({ code: 3 });
  // Process 1, a tool too, holds the container.
  (await guest.session.stream(1, 'stdout')).destroy();
  expect(await guest.shell('echo on')).toBe('on\n');
});

test('processes and statistics are those of the container', async () => {
  await using guest = await Guest.boot();
  guest.session.send({ type: 'process', request: 60, container: BOX, id: 60, argv: ['sleep', '1000'] });
  await guest.session.answer(60);
  const processes = (await guest.tool(['processes'])).toString().split('\0');
  expect(processes).toContainEqual(expect.stringMatching(/^0 \d+ \d+ \d+ \d+ 0 sleep 1000$/));
  const statistics = (await guest.tool(['statistics'])).toString().split('\0');
  expect(statistics).toEqual(expect.arrayContaining(['cpu.stat', 'memory.current', 'meminfo', 'layer']));
});

test('what commands left behind is killed, and is gone then', async () => {
  await using guest = await Guest.boot();
  // Children of process 1: one of them has ended already, others fork without an end or ignore signals.
  await guest.shell('(sleep 0 >/dev/null 2>&1 &)');
  await guest.shell("(trap '' TERM HUP; while :; do sleep 0.01; done) >/dev/null 2>&1 &");
  await guest.shell('(f() { sleep 0.01; f & }; f; f) >/dev/null 2>&1 &');
  expect(await guest.tool(['kill'])).toEqual(Buffer.alloc(0));
  const left = (await guest.tool(['processes'])).toString().split('\0').filter(Boolean);
  expect(left).toHaveLength(1);
  // Nothing to kill is no failure, and the container goes on.
  await guest.tool(['kill']);
  expect(await guest.shell('echo on')).toBe('on\n');
});

/**
 * Servers that echo, at both loopback addresses, that end first, and that read no more than they
 * want.
 */
const SERVERS = `
const { createServer } = require('node:net');
const serve = (port, host, act) => new Promise((done) => createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => {});
  act(socket);
}).listen(port, host, done));
Promise.all([
  serve(8080, '127.0.0.1', (socket) => socket.pipe(socket)),
  serve(8081, '::1', (socket) => socket.pipe(socket)),
  serve(8082, '127.0.0.1', (socket) => socket.end('bye')),
  serve(8083, '127.0.0.1', (socket) => socket.once('data', () => socket.pause().end('enough'))),
  serve(8084, '127.0.0.1', (socket) => socket.resume()),
]).then(() => console.log('ready'));
`;

test('a port of the container is reached, in both directions and to the end of each', async () => {
  await using guest = await Guest.boot();
  const servers = guest.session.spawnInside(process.execPath, '-e', SERVERS);
  await once(servers.stdout as Readable, 'data');
  const bytes = randomBytes(5_000_000);
  for (const port of ['8080', '8081']) expect((await guest.tool(['connect', port], bytes)).equals(bytes)).toBe(true);
  expect(await guest.tool(['connect', '8080'])).toEqual(Buffer.alloc(0));
  expect(String(await guest.tool(['connect', '8083'], bytes))).toBe('enough');
  // Its input stays open.
  guest.session.send({
    ...{ type: 'process', request: 80, container: BOX, id: 80 },
    ...{ argv: ['connect', '8082'], tool: true, stdin: true },
  });
  expect(await guest.session.output(80, 'stdout')).toBe('bye');
  expect((await guest.session.exited(80)).code).toBe(0);
});

test('a connection to nothing is an error', async () => {
  await using guest = await Guest.boot();
  const none = await guest.run({ argv: ['connect', '9'], tool: true });
  expect(none).toMatchObject({ err: '9: Connection refused\n', code: 1 });
  for (const argv of [['connect'], ...['', '0', '65536', '-1', '80x', '4294967376'].map((port) => ['connect', port])]) {
    const { err, code } = await guest.run({ argv, tool: true });
    expect({ err, code }).toEqual({ err: 'arguments: Invalid argument\n', code: 1 });
  }
});

/** Listens at `/s` of the container. `path`: where this host sees that. */
async function listen(guest: Guest, id: number, onConnection: (connection: Duplex) => void) {
  const argv = ['listen', '/s', '620', '5', '6'];
  guest.session.send({ type: 'process', request: id, container: BOX, id, argv, tool: true, stdin: true });
  const [input, output] = await Promise.all([guest.session.stream(id, 'stdin'), guest.session.stream(id, 'stdout')]);
  const listening = defer<void>();
  const connections = new Multiplexer({ output: input, onListening: listening.resolve, onConnection });
  output.on('data', (chunk: Buffer) => connections.push(chunk)).resume();
  await listening.promise;
  return { path: guest.session.pathInside('/s'), input };
}

test('clients of a socket of the container reach the host, sixteen at once, to the end of each direction', async () => {
  await using guest = await Guest.boot();
  let [open, most] = [0, 0];
  const full = defer<void>();
  const serve = (connection: Duplex) => {
    most = Math.max(most, ++open);
    if (open === 16) full.resolve();
    connection.once('close', () => open--);
    full.promise.then(() => connection.pipe(connection));
  };
  const { path, input } = await listen(guest, 90, serve);
  expect(await guest.shell("stat -c '%F %a %u %g' /s")).toBe('socket 620 5 6\n');
  const ask = async (bytes: Buffer) => {
    const client = connect({ path, allowHalfOpen: true });
    client.end(bytes);
    const chunks: Buffer[] = [];
    for await (const chunk of client) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).equals(bytes);
  };
  const sizes = Array.from({ length: 40 }, (_, index) => 1 + index * 5000);
  expect(await Promise.all(sizes.map((size) => ask(randomBytes(size))))).toEqual(sizes.map(() => true));
  expect(most).toBe(16);
  // Who comes first need not speak first.
  const [early, late] = [connect(path), connect(path)];
  await Promise.all([once(early, 'connect'), once(late, 'connect')]);
  late.write('late');
  expect(String((await once(late, 'data'))[0])).toBe('late');
  early.write('early');
  expect(String((await once(early, 'data'))[0])).toBe('early');
  for (const client of [early, late]) client.destroy();
  // One has left without a word.
  const mute = connect(path, () => mute.destroy());
  expect(await ask(Buffer.from('on'))).toBe(true);
  input.end();
  expect(await guest.session.exited(90)).toMatchObject({ code: 0 });
});

test('a client that takes no answer has its place until the host closes it', async () => {
  await using guest = await Guest.boot();
  const seen = new Map<number, Duplex>();
  const [full, next] = [defer<void>(), defer<void>()];
  const { path, input } = await listen(guest, 91, (connection) =>
    connection.once('data', ([number]: Buffer) => {
      seen.set(number!, connection);
      if (seen.size === 16) full.resolve();
      if (seen.size === 17) next.resolve();
    }),
  );
  const clients: Socket[] = [];
  for (let number = 0; number < 17; number++) {
    const client = connect(path);
    await once(client, 'connect');
    client.write(Buffer.of(number));
    clients.push(client);
  }
  await full.promise;
  const [left, other] = [seen.get(0)!, seen.get(1)!];
  const gone = once(left, 'end');
  clients[0]!.destroy();
  await gone;
  // The tool has taken what it was given when an answer to the other comes.
  for (let round = 0; round < 3; round++) {
    left.write('nobody reads this');
    other.write('ask');
    await once(clients[1]!, 'data');
    clients[1]!.write('answer');
    await once(other, 'data');
  }
  expect([...seen.keys()]).not.toContain(16);
  left.end();
  await next.promise;
  expect([...seen.keys()]).toContain(16);
  for (const client of clients) client.destroy();
  input.end();
  expect(await guest.session.exited(91)).toMatchObject({ code: 0 });
});

test.each([
  [['listen'], 'arguments: Invalid argument'],
  [['listen', '/s', '600', '0'], 'arguments: Invalid argument'],
  [['listen', '/s', '8', '0', '0'], 'arguments: Invalid argument'],
  [['listen', '/s', '10000', '0', '0'], 'arguments: Invalid argument'],
  [['listen', '/s', '600', '4294967295', '0'], 'arguments: Invalid argument'],
  [['listen', '/s', '600', '0', '-1'], 'arguments: Invalid argument'],
  [['listen', '/etc', '600', '0', '0'], '/etc: Address in use'],
  [['listen', `/${'s'.repeat(108)}`, '600', '0', '0'], `/${'s'.repeat(108)}: Filename too long`],
])('%j is an error', async (argv, message) => {
  await using guest = await Guest.boot();
  expect(await guest.run({ argv, tool: true })).toMatchObject({ err: `${message}\n`, code: 1 });
});

test('a tool that there is not is not found', async () => {
  await using guest = await Guest.boot();
  guest.session.send({ type: 'process', request: 70, container: BOX, id: 70, argv: ['frobnicate'], tool: true });
  expect(await guest.session.error(70)).toMatchObject({ kind: 'not-found' });
});
