// Servers and jobs from Debian's packages run in containers as on any host.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { debianImages } from '../fixtures/debian-images.js';
import {
  fastestAndUml,
  isLab,
  type Machine,
  machines,
  type Result,
  type RunningCommand,
  readUntil,
  run,
  TSVM,
} from './machine.js';

const PROGRAMS = fileURLToPath(new URL('../fixtures/guest-programs', import.meta.url));
/** Maximum time for a server to begin to answer, in milliseconds. */
const PATIENCE = 200_000;
/** How often PostgreSQL's machine is killed. */
const KILLS = 10;
/** The maximum time for that, in milliseconds. */
const KILLS_TIMEOUT = 1_200_000;

/** A folder that every machine sees. */
let folder: string;
/** A home in `folder`: the images are converted here, once for all machines. */
let home: string;
/** ID of an image with all the servers. */
let image: string;
/** ID of the same image with a VOLUME. */
let withVolume: string;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  home = join(folder, 'home');
  const store = openStore(home);
  image = (await store.resolve(`oci:${debianImages()}:servers`)).digest;
  withVolume = await store.commit(image, emptyLayer(), { changes: ['VOLUME /var/mail'] });
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Returns the functions that the tests use on a machine. */
function prepare(machine: Machine) {
  const env = () => ({ TSVM_HOME: home });
  const command = (...argv: string[]): Promise<Result> => run(machine, argv, { env: env() });

  const tsvm = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await command(TSVM, ...words);
    expect({ code, stderr }, `${words}: ${stdout}`).toEqual({ code: 0, stderr: '' });
    return stdout.trim();
  };

  /** Starts a background container with a published port. Disposing of it removes it. */
  const serve = async (port: number, words: string[], argv: string[]) => {
    const server = removed(await tsvm('run', '-d', '-p', `127.0.0.1::${port}`, ...words, image, ...argv));
    const [host = '', at = ''] = (await tsvm('port', server.id, String(port))).split(':');
    return { ...server, host, at };
  };

  /** A container that is removed when disposed of. */
  const removed = (id: string) => ({
    id,
    [Symbol.asyncDispose]: async () => {
      await tsvm('rm', '-f', id);
    },
  });

  /** Repeats a command on this machine until it succeeds: a server takes a while to answer. */
  const eventually = async (...argv: string[]): Promise<string> => {
    for (const deadline = performance.now() + PATIENCE; ; ) {
      const { code, stdout, stderr } = await command(...argv);
      if (code === 0) return stdout;
      if (performance.now() > deadline) throw new Error(`${argv.join(' ')} fails: ${stderr}`);
    }
  };

  return { command, tsvm, removed, serve, eventually };
}

describe.each(machines)('on $name', (machine) => {
  const { command, serve, eventually } = prepare(machine);

  test('nginx answers every request of 16 connections that stay open', async () => {
    await using web = await serve(80, [], ['nginx', '-g', 'daemon off;']);
    const url = `http://${web.host}:${web.at}/`;
    expect(await eventually('curl', '-sf', url)).toContain('Welcome to nginx!');
    // Each connection sends a request at once, and another one after each answer.
    const requests = String(isLab(machine) ? 160 : 1600);
    const { code, stdout } = await command('ab', '-q', '-k', '-s', '60', '-c', '16', '-n', requests, url);
    expect(code, stdout).toBe(0);
    const count = (what: string) => RegExp(`^${what}: +(\\d+)$`, 'm').exec(stdout)?.[1];
    const counts = ['Complete requests', 'Keep-Alive requests', 'Failed requests', 'Non-2xx responses'].map(count);
    expect(counts, stdout).toEqual([requests, requests, '0', undefined]);
  });
});

// The lab's kills of a machine that writes to a mounted folder are in volumes.test.ts: there, a start of
// PostgreSQL takes two minutes.
describe.each(fastestAndUml)('on $name', (machine) => {
  const { command, tsvm, removed, serve, eventually } = prepare(machine);

  test(
    `PostgreSQL loses no row that it acknowledged to pgbench when its machine is killed ${KILLS} times`,
    async () => {
      const volume = `rows-${randomBytes(8).toString('hex')}`;
      const mounts = ['-v', `${volume}:/var/lib/postgresql`, '-v', `${PROGRAMS}:/programs:ro`];
      const acknowledged = new Set<string>();
      try {
        const words = ['-u', 'postgres', ...mounts, image, '/programs/postgres/commit.sh'];
        await using server = removed(await tsvm('create', ...words));
        await tsvm('start', server.id);
        for (let round = 1; round <= KILLS; round++) {
          await committed(machine, server.id, round, acknowledged);
          const pid = await tsvm('inspect', '-f', '{{.State.Pid}}', server.id);
          expect((await command('kill', '-KILL', pid)).code).toBe(0);
          await command(TSVM, 'wait', server.id);
          await tsvm('start', server.id);
        }
        await committed(machine, server.id, KILLS + 1, acknowledged);
        const query = (sql: string) => tsvm('exec', server.id, 'psql', '-h', '/tmp', '-qAtF', ', ', '-c', sql);
        const rows = new Set((await query('SELECT start, client, n FROM history')).split('\n'));
        expect(acknowledged.size).toBeGreaterThan(4 * KILLS);
        expect([...acknowledged].filter((row) => !rows.has(row))).toEqual([]);
        const sums = 'SELECT (SELECT sum(balance) FROM accounts) = (SELECT sum(delta) FROM history)';
        expect(await query(sums)).toBe('t');
        expect(await tsvm('exec', server.id, 'cat', '/tmp/server.log')).toContain('automatic recovery in progress');
      } finally {
        await command(TSVM, 'volume', 'rm', volume);
      }
    },
    KILLS_TIMEOUT,
  );

  test('redis-server answers every request of redis-benchmark', async () => {
    await using redis = await serve(6379, [], ['redis-server', '--protected-mode', 'no', '--save', '']);
    const here = ['-h', redis.host, '-p', redis.at];
    const ask = (...words: string[]) => eventually('redis-cli', '-e', ...here, ...words);
    expect(await ask('ping')).toBe('PONG\n');
    const kinds = ['PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR', 'LPUSH', 'LPOP', 'SADD', 'HSET', 'ZADD', 'MSET'];
    const kindsAsked = ['-t', [...new Set(kinds.map((kind) => kind.replace(/_.*/, '').toLowerCase()))].join(',')];
    const asked = ['redis-benchmark', ...here, '-n', '500', '-c', '10', '-e', '--csv', ...kindsAsked];
    const { code, stdout } = await command(...asked);
    expect(code, stdout).toBe(0);
    const answered = [...stdout.matchAll(/^"([A-Z_]+)(?: \(10 keys\))?","[1-9][\d.]*"/gm)].map(([, kind]) => kind);
    expect(answered.sort(), stdout).toEqual(kinds.sort());
    expect(await ask('get', 'counter:__rand_int__')).toBe('500\n');
    expect((await ask('info', 'errorstats')).trim()).toBe('# Errorstats');
  });

  test('the VOLUMEs of an image outlive a removed container, unless rm has -v', async () => {
    const id = await tsvm('create', withVolume, 'sh', '-c', 'echo mail > /var/mail/new');
    await tsvm('start', '-a', id);
    const [{ Name: volume, Source: mail }] = JSON.parse(await tsvm('inspect', '-f', '{{json .Mounts}}', id));
    const { stdout } = await command('sh', '-c', `cat ${mail}/new; stat -c '%g %a' ${mail}`);
    expect(stdout).toBe('mail\n8 2775\n');
    await tsvm('rm', id);
    const next = await tsvm('create', '-v', `${volume}:/data:ro`, withVolume, 'cat', '/data/new');
    expect(await tsvm('start', '-a', next)).toBe('mail');
    const [, { Name: own }] = JSON.parse(await tsvm('inspect', '-f', '{{json .Mounts}}', next));
    await tsvm('rm', '-v', next);
    const left = (await tsvm('volume', 'ls', '-q')).split('\n');
    expect([volume, own].filter((name) => left.includes(name))).toEqual([volume]);
    await tsvm('volume', 'rm', volume);
  });

  test('Node.js serves a program from a mounted folder', async () => {
    const app = join(folder, `node-${machine.name}`);
    mkdirSync(app, { recursive: true });
    writeFileSync(
      join(app, 'server.js'),
      `const { createServer } = require('node:http');
       createServer(async (request, response) => {
         const chunks = [];
         for await (const chunk of request) chunks.push(chunk);
         const body = JSON.parse(Buffer.concat(chunks).toString());
         response.end(JSON.stringify({ path: request.url, sum: body.reduce((a, b) => a + b) }));
       }).listen(8080);`,
    );
    await using web = await serve(8080, ['-v', `${app}:/app:ro`, '-w', '/app'], ['node', 'server.js']);
    const said = await eventually('curl', '-sf', '-d', '[1, 2, 39]', `http://${web.host}:${web.at}/sum?x=y`);
    expect(JSON.parse(said)).toEqual({ path: '/sum?x=y', sum: 42 });
  });

  test("apt-get installs packages of a repository on the host's loopback interface", async () => {
    const repository = makeRepository(join(folder, `apt-${machine.name}`));
    await using server = await serveFolder(machine, repository);
    const script = `
      rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
      echo 'deb [trusted=yes] http://repository:${server.port}/ ./' > /etc/apt/sources.list
      apt-get update -q && apt-get install -qq -y greet && greet && dpkg-query -W -f='\${Package} \${Status}\\n' greet libgreet`;
    const options = ['--allow-net', `host-gateway:${server.port}`, '--add-host', 'repository:host-gateway'];
    const { code, stdout, stderr } = await command(TSVM, 'run', '--rm', ...options, image, 'sh', '-c', script);
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toMatch(
      /\nhello of libgreet, configured\ngreet install ok installed\nlibgreet install ok installed\n$/,
    );
    // Without --allow-net the interface is closed.
    const closed = await command(TSVM, 'run', '--rm', ...options.slice(2), image, 'sh', '-c', script);
    expect(closed.code).toBe(100);
    expect(closed.stderr).toContain('Unable to locate package greet');
  });
});

/**
 * Waits until more than `starts` starts of the container have acknowledged rows, and adds all rows
 * acknowledged so far to `acknowledged`.
 */
async function committed(machine: Machine, id: string, starts: number, acknowledged: Set<string>): Promise<void> {
  const wanted = (said: string) => said.split(/^sent \d+, 0, 5$/m).length > starts;
  const follow = machine.spawn([TSVM, 'logs', '-f', id], { env: { TSVM_HOME: home } });
  try {
    note(await readUntil(follow.stdout, wanted), acknowledged);
  } finally {
    await stop(follow);
  }
}

/** Adds the committed rows: when a client sends a row, the one before it is committed. */
function note(said: string, acknowledged: Set<string>): void {
  for (const [, of, n] of said.matchAll(/^sent (\d+, \d+), (\d+)$/gm)) {
    if (n !== '1') acknowledged.add(`${of}, ${Number(n) - 1}`);
  }
}

async function* emptyLayer(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(1024);
}

async function stop(command: RunningCommand): Promise<void> {
  command.kill('SIGTERM');
  await command.exit;
}

/** Serves a folder over HTTP at a free port of the machine's loopback interface. */
async function serveFolder(machine: Machine, path: string) {
  const program = `
import functools, http.server
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=${JSON.stringify(path)})
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print('port', server.server_port, 'ready', flush=True); server.serve_forever()`;
  const server = machine.spawn(['/usr/bin/python3', '-c', program]);
  const [, port] = /port (\d+) /.exec(await readUntil(server.stdout, 'ready'))!;
  return { port, [Symbol.asyncDispose]: () => stop(server) };
}

/** Makes a package repository of two packages; the first depends on the second. */
function makeRepository(path: string): string {
  const packages: { name: string; depends?: string; files: Record<string, string>; postinst?: string }[] = [
    {
      name: 'greet',
      depends: 'libgreet (>= 1)',
      files: {
        'usr/bin/greet': '#!/bin/sh\necho "hello of $(cat /usr/share/greet/name), $(cat /usr/share/greet/done)"\n',
      },
      postinst: '#!/bin/sh\necho configured > /usr/share/greet/done\n',
    },
    { name: 'libgreet', files: { 'usr/share/greet/name': 'libgreet\n', 'usr/share/greet/large': 'x'.repeat(4 << 20) } },
  ];
  const index = packages.map(({ name, depends, files, postinst }) => {
    const root = join(path, name);
    const control = [
      ...[`Package: ${name}`, 'Version: 1.0', 'Architecture: all', 'Maintainer: Nobody <nobody@example.com>'],
      ...(depends === undefined ? [] : [`Depends: ${depends}`]),
      'Description: a package of a test',
    ].join('\n');
    write(join(root, 'DEBIAN/control'), `${control}\n`);
    if (postinst !== undefined) write(join(root, 'DEBIAN/postinst'), postinst);
    for (const [file, contents] of Object.entries(files)) write(join(root, file), contents);
    execFileSync('dpkg-deb', ['--root-owner-group', '--build', root, `${path}/${name}.deb`], { stdio: 'pipe' });
    const bytes = readFileSync(`${path}/${name}.deb`);
    return `${control}\nFilename: ./${name}.deb\nSize: ${bytes.length}\nSHA256: ${sha256(bytes)}\n`;
  });
  writeFileSync(join(path, 'Packages'), index.join('\n'));
  return path;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function write(path: string, contents: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents, { mode: 0o755 });
}
