// Dockerfiles as people write them build on User-Mode Linux, and each container does what its image
// is for. Two of them, over a small base, have the files and config that buildah makes.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { Home } from '../../sandbox/index.js';
import { clientImage, debianImages } from '../fixtures/debian-images.js';
import { Buildah, comparable } from '../unit/build/by-buildah.js';
import { made } from '../unit/build/made.js';
import { type Result, readUntil, run, TSVM, uml } from './machine.js';

const DOCKERFILES = fileURLToPath(new URL('../fixtures/dockerfiles', import.meta.url));
/** Maximum time for a server to begin to answer, in milliseconds. */
const PATIENCE = 200_000;
/** Milliseconds between two looks at it. */
const PAUSE = 500;

/** Base images by the names that the Dockerfiles have for them, with their places in OCI layouts. */
function bases(): Record<string, string> {
  const [debian, clients] = [debianImages(), clientImage()];
  return {
    'debian:bookworm-slim': `${debian}:base`,
    'python:3.11': `${clients}:compilers`,
    'python:3.11-slim': `${debian}:python3`,
    'node:18': `${clients}:compilers`,
    'node:18-slim': `${debian}:nodejs`,
    'gcc:12': `${clients}:compilers`,
    'nginx:1.22': `${debian}:nginx`,
    'postgres-server:15': `${debian}:servers`,
    'redis-server:7': `${debian}:servers`,
  };
}

/** Those that buildah builds from too. It copies all files of an image at each step. */
const BUILDAHS = ['debian:bookworm-slim'];

/**
 * Files that tell times, whose contents are not the same twice. The last one is a copy of a file that
 * keeps its size and time: buildah, which compares these, leaves what the base image has.
 */
const TIMES =
  /^(\S+ \S+ \/(?:var\/(?:log|cache\/(?:ldconfig|apt)|lib\/dpkg)\/\S+|etc\/(?:g?shadow-?|passwd-?|group-))) .*/;
/** buildah leaves a file of its own, and removes the folder on which it mounted a tmpfs. */
const BUILDAHS_OWN = /^\S+ \S+ \/(etc\/hosts|var\/lib\/apt\/lists\/.*)/;

/** Has the home of these builds, and what is mounted into containers. */
let folder: string;
let home: string;
let buildah: Buildah;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-dockerfiles-');
  home = join(folder, 'home');
  buildah = new Buildah();
  const store = openStore(home);
  for (const [name, place] of Object.entries(bases())) {
    await store.tag((await store.resolve(`oci:${place}`)).digest, name);
    if (BUILDAHS.includes(name)) await buildah.take(`oci:${place}`, name);
  }
});

afterAll(() => {
  buildah[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const command = (argv: readonly string[], stdin?: string): Promise<Result> =>
  run(uml, [...argv], { env: { TSVM_HOME: home }, ...(stdin !== undefined && { stdin }) });

/** What a command of tsvm prints, without the last line's end. */
async function tsvm(words: readonly string[], stdin?: string): Promise<string> {
  const { code, stdout, stderr } = await command([TSVM, ...words], stdin);
  expect({ code, stderr }, `${words.join(' ')}: ${stdout}`).toEqual({ code: 0, stderr: '' });
  return stdout.trimEnd();
}

/** Builds the Dockerfile of a folder. The image has the folder's name. */
function build(name: string, ...options: string[]): Promise<string> {
  return tsvm(['build', '-q', '-t', name, ...options, join(DOCKERFILES, name)]);
}

/** Builds it with buildah too, which has the same files and config. */
async function buildLikeBuildah(name: string): Promise<void> {
  const id = await build(name);
  const ours = made(new Home(home), id);
  const archive = await buildah.build(['--pull-never', join(DOCKERFILES, name)]);
  const theirs = made(new Home(home), (await openStore(home).resolve(archive)).digest);
  const told = (lines: string[]) =>
    lines.filter((line) => !BUILDAHS_OWN.test(line)).map((line) => line.replace(TIMES, '$1'));
  expect(told(await ours.files())).toEqual(told(await theirs.files()));
  expect(comparable(ours.config)).toEqual(comparable(theirs.config));
}

/** Starts a container in the background. Disposing of it removes it. */
async function start(...words: string[]) {
  const id = await tsvm(['run', '-d', ...words]);
  const address = async (port: number) => (await tsvm(['port', id, String(port)])).split('\n')[0]!;
  return {
    id,
    address,
    /** Stops it as a user does. Returns its exit code and its log. */
    async stop() {
      await tsvm(['stop', id]);
      const { stdout, stderr } = await command([TSVM, 'logs', id]);
      return { code: await tsvm(['inspect', '-f', '{{.State.ExitCode}}', id]), log: stdout + stderr };
    },
    [Symbol.asyncDispose]: async () => {
      await tsvm(['rm', '-f', '-v', id]);
    },
  };
}

/** Waits until a container says something on stderr. */
async function untilSaid(id: string, words: string): Promise<void> {
  const logs = uml.spawn([TSVM, 'logs', '-f', id], { env: { TSVM_HOME: home } });
  logs.stdout.resume();
  await readUntil(logs.stderr, words);
  logs.kill('SIGTERM');
}

/** Repeats a command until it succeeds: a server takes a while to answer. */
async function eventually(...argv: string[]): Promise<string> {
  for (const deadline = performance.now() + PATIENCE; ; ) {
    const { code, stdout, stderr } = await command(argv);
    if (code === 0) return stdout;
    if (performance.now() > deadline) throw new Error(`${argv.join(' ')} fails: ${stdout}${stderr}`);
    await sleep(PAUSE);
  }
}

/** Makes a folder with these files. */
function write(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(folder, name);
  for (const [file, contents] of Object.entries(files)) {
    mkdirSync(join(path, file, '..'), { recursive: true });
    writeFileSync(join(path, file), contents);
  }
  return path;
}

describe('of Dockerfiles', () => {
  test('npm ci installs what the lock file of a web server says, without what is for development', async () => {
    await build('node-web');
    await using web = await start('-p', '127.0.0.1::8080', 'node-web');
    const said = await eventually('curl', '-sf', '-d', 'one two  three', `http://${await web.address(8080)}/`);
    expect(JSON.parse(said)).toEqual({ words: 3, user: 1000 });
    expect(await tsvm(['exec', web.id, 'ls', 'node_modules'])).toBe('word-count\nword-split');
    expect(await web.stop()).toEqual({ code: '0', log: 'closed\n' });
  });

  test('pip installs a service and what it needs from a local index into a virtual environment', async () => {
    await build('python-service');
    await using service = await start('-p', '127.0.0.1::8000', 'python-service');
    const said = await eventually('curl', '-sf', `http://${await service.address(8000)}/1994`);
    expect(JSON.parse(said)).toEqual({ roman: 'MCMXCIV', prefix: '/opt/venv', user: true });
    expect((await service.stop()).code).toBe('0');
    expect(await tsvm(['run', '--rm', 'python-service', '--help'])).toContain('usage: service');
  });

  test('make compiles a static program, which is alone in its image', async () => {
    await build('c-static');
    const lines = 'a b c\nd e f\ng\n';
    expect(await tsvm(['run', '--rm', '-i', 'c-static'], lines)).toBe('b\ne');
    expect(await tsvm(['run', '--rm', '-i', 'c-static', '3'], lines)).toBe('c\nf');
    const wrong = await command([TSVM, 'run', '--rm', 'c-static', 'x']);
    expect(wrong).toMatchObject({ code: 2, stderr: 'columns: user 65534: usage: columns NUMBER\n' });
  });

  test('nginx serves a site, logs to the container and ends with its stop signal', async () => {
    await build('nginx-site');
    await using site = await start('-p', '127.0.0.1::80', 'nginx-site');
    const url = `http://${await site.address(80)}`;
    expect(await eventually('curl', '-sf', `${url}/`)).toBe('<h1>Welcome to the site</h1>\n');
    const told = ['-o', '/dev/null', '-w', '%{http_code} %{header_json}'];
    const ask = async (...words: string[]) => {
      const { stdout } = await command(['curl', '-s', ...told, ...words]);
      const [, status, headers = ''] = /^(\d+) (.*)$/s.exec(stdout)!;
      return { status, ...(JSON.parse(headers) as Record<string, string[]>) };
    };
    const style = await ask('--compressed', `${url}/style/main.css`);
    expect(style).toMatchObject({ 'content-encoding': ['gzip'], 'cache-control': ['max-age=3600'] });
    expect(await ask(`${url}/old`)).toMatchObject({ location: ['/'] });
    expect((await ask(`${url}/private/x`)).status).toBe('403');
    const missing = await command(['curl', '-s', '-w', '%{http_code}', `${url}/none`]);
    expect(missing.stdout).toBe('<h1>There is no such page</h1>\n404');
    const { code, log } = await site.stop();
    expect(code).toBe('0');
    expect(log).toContain('"GET /none HTTP/1.1" 404');
    expect(log).toContain('access forbidden by rule');
  });

  test('PostgreSQL runs the scripts of its image at the first start alone', async () => {
    await build('postgres');
    const refused = await command([TSVM, 'run', '--rm', 'postgres']);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('POSTGRES_PASSWORD: is not set') });
    const settings = ['POSTGRES_PASSWORD=sesame', 'POSTGRES_DB=shop', 'READER_PASSWORD=books'];
    await using server = await start(...settings.flatMap((text) => ['-e', text]), 'postgres');
    await untilSaid(server.id, 'listening on IPv4');
    const psql = ['psql', '-h', '127.0.0.1', '-U', 'reader', '-qAt', 'shop', '-c'];
    const ask = [TSVM, 'exec', '-e', 'PGPASSWORD=books', server.id, ...psql];
    const counts = "SELECT page, count(*) FROM visits WHERE page < '/page/2' GROUP BY page ORDER BY page";
    expect(await eventually(...ask, counts)).toBe('/page/0|33\n/page/1|34\n');
    const denied = await command([...ask, 'DELETE FROM visits']);
    expect(denied).toMatchObject({ code: 1, stderr: 'ERROR:  permission denied for table visits\n' });
    expect((await server.stop()).code).toBe('0');
    await tsvm(['start', server.id]);
    expect(await eventually(...ask, 'SELECT count(*) FROM visits')).toBe('100\n');
    const { log } = await server.stop();
    expect(log.match(/^runs .*$/gm)).toEqual([
      'runs /docker-entrypoint-initdb.d/10-schema.sql',
      'runs /docker-entrypoint-initdb.d/20-reader.sh',
      'runs /docker-entrypoint-initdb.d/30-rows.sql.gz',
    ]);
  });

  test('an entrypoint becomes the user that variables name, and its volume begins with what the image has', async () => {
    await buildLikeBuildah('job');
    const source = write('source', { 'docs/a': 'A', 'docs/b/c': 'C', 'mail/d': 'D' });
    const mounts = ['-v', `${source}:/source:ro`, '-v', 'dockerfiles-job:/backups'];
    const saved = await tsvm(['run', '--rm', ...mounts, '-e', 'PUID=1234', '-e', 'PGID=1235', 'job']);
    expect(saved).toBe('docs: 4 entries, by 1234:1235, NoNewPrivs: 1\nmail: 2 entries, by 1234:1235, NoNewPrivs: 1');
    const looks = ['sh', '-c', 'id -u; stat -c "%n %u:%g %a" .  *; cat README'];
    expect(await tsvm(['run', '--rm', ...mounts, '-u', '1234:1235', 'job', ...looks])).toBe(
      '1234\n. 1234:1235 2750\nREADME 1234:1235 644\ndocs.tar.gz 1234:1235 640\nmail.tar.gz 1234:1235 640\nkept by the image',
    );
    await tsvm(['volume', 'rm', 'dockerfiles-job']);
  });

  test('scripts are in the Dockerfile itself, and a cache mount outlives a build', async () => {
    // buildah 1.28 knows no heredocs.
    await build('heredocs');
    await build('heredocs', '--build-arg', 'ROUND=2');
    const primes = (...words: string[]) => tsvm(['run', '--rm', 'heredocs', ...words]);
    expect(JSON.parse(await primes())).toEqual({ count: 168, sum: 76127 });
    expect(await primes('is', '997')).toBe('yes');
    expect(await primes('round')).toBe('1\nbuilt in 2');
  });

  test('apt-get installs a package of a repository that an earlier stage has made', async () => {
    await buildLikeBuildah('apt-repository');
    const data = write('data', { a: '12345', 'b/c': '678901' });
    const mount = ['-v', `${data}:/data:ro`];
    expect(await tsvm(['run', '--rm', ...mount, 'apt-repository', '/data'])).toBe('/data 11 bytes');
    const looks = 'id -un; pwd; dpkg-query -Wf "\\${Package} \\${Version} \\${Status}\\n" disk-report; ls /repository';
    const { stdout } = await command([TSVM, 'run', '--rm', '--entrypoint', 'sh', 'apt-repository', '-c', looks]);
    expect(stdout).toBe('disk-report\n/var/lib/disk-report\ndisk-report 2.4-1 install ok installed\n');
  });

  test('Redis keeps to its config, and keeps its data in its volume', async () => {
    await build('redis');
    await using redis = await start('-p', '127.0.0.1::6379', '--sysctl', 'net.core.somaxconn=4096', 'redis');
    const cli = async (...words: string[]) => {
      const [host = '', port = ''] = (await redis.address(6379)).split(':');
      return ['redis-cli', '-e', '-h', host, '-p', port, '--no-auth-warning', ...words];
    };
    const app = ['--user', 'app', '--pass', 'swordfish'];
    expect(await eventually(...(await cli('ping')))).toBe('PONG\n');
    expect((await command(await cli(...app, 'set', 'app:x', '42'))).stdout).toBe('OK\n');
    expect((await command(await cli(...app, 'get', 'other'))).stderr).toContain('NOPERM');
    expect((await command(await cli('get', 'app:x'))).stderr).toContain('NOPERM');
    expect(await tsvm(['exec', redis.id, 'id', '-un'])).toBe('redis');
    const { code, log } = await redis.stop();
    expect(code).toBe('0');
    expect(log).not.toContain('TCP backlog setting');
    await tsvm(['start', redis.id]);
    expect(await eventually(...(await cli(...app, 'get', 'app:x')))).toBe('42\n');
  });

  test('packages of a monorepo are built from one Dockerfile, a base with ONBUILD and a named context', async () => {
    // buildah 1.28 knows no --parents and --exclude.
    const tree = join(DOCKERFILES, 'monorepo');
    await tsvm(['build', '-q', '-t', 'monorepo-base', join(tree, 'base')]);
    const shared = ['--build-context', `shared=${join(tree, 'shared')}`];
    for (const name of ['api', 'web']) {
      await tsvm(['build', '-q', '-t', name, ...shared, '--build-arg', `PACKAGE=${name}`, join(tree, 'app')]);
    }
    expect(await tsvm(['run', '--rm', 'api', 'to', 'you'])).toBe('Hello from api 1.4 to you');
    expect(await tsvm(['run', '--rm', 'web'])).toBe('Hello from page of web 2.0');
    const files = ['sh', '-c', 'cat manifest; find shared -type f | sort'];
    expect(await tsvm(['run', '--rm', '-w', '/srv', '--entrypoint', files[0]!, 'web', ...files.slice(1)])).toBe(
      './start\nshared/docs/plain.txt\nshared/greet.sh',
    );
    expect(await tsvm(['inspect', '-f', '{{index .Config.Labels "package"}}', 'web'])).toBe('web');
  });
});
