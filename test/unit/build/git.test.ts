// Repositories as contexts and as sources of ADD, from git's own server: the files of the commit that
// was meant, with submodules. What a hostile repository or Dockerfile names leads nowhere, ends with
// one line, runs no program and leaves nothing.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { buildStore } from '../../../images/build.js';
import { finished } from '../images/bundle.js';
import { GitServer } from './git-server.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const DOCKERFILE = 'FROM scratch\nCOPY . /\n';

let shop: Workshop;
let server: GitServer;

beforeEach(async () => {
  shop = new Workshop();
  server = await GitServer.open(join(shop.folder, 'served'));
});

afterEach(() => {
  vi.unstubAllEnvs();
  server[Symbol.dispose]();
  shop[Symbol.dispose]();
});

function start(words: readonly string[], more: Record<string, string> = {}) {
  const env = { ...process.env, TSVM_HOME: shop.home.path, SOURCE_DATE_EPOCH: '2000000000', ...more };
  return spawn(TSVM, ['build', '-q', ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function filesOf(...words: string[]): Promise<string[]> {
  expect(await finished(start(['-t', 'made', ...words]))).toMatchObject({ code: 0, stderr: '' });
  return await (await shop.open('made')).files();
}

async function failureOf(words: readonly string[], more: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await finished(start(words, more));
  const lines = stderr.trimEnd().split('\n');
  expect({ failed: code !== 0, stdout, lines: lines.length }).toEqual({ failed: true, stdout: '', lines: 1 });
  expect(leftovers()).toEqual([]);
  return lines[0]!;
}

function leftovers(): string[] {
  const tmp = join(shop.home.path, 'store-2/tmp');
  return existsSync(tmp) ? readdirSync(tmp) : [];
}

/** Lets a Dockerfile name the server of this test. */
function openServer(): void {
  const settings = join(shop.folder, 'registries.json');
  writeFileSync(settings, JSON.stringify({ [server.host]: { internal: true } }));
  vi.stubEnv('TSVM_REGISTRIES', settings);
}

describe('a context', () => {
  test('has the files of the branch, the tag, the commit and the folder that its URL names', async () => {
    const repository = server
      .repository('a/x')
      .write({ Dockerfile: DOCKERFILE, f: '1', '.dockerignore': 'Dockerfile\n' });
    const first = repository.commit();
    repository.git('tag', 'plain');
    repository.git('tag', '-a', '-m', 'x', 'v1');
    repository.write({ f: '2', 'd/Dockerfile': DOCKERFILE, 'd/.dockerignore': 'Dockerfile\n', 'd/g': 'G' }).commit();
    repository.git('checkout', '-q', '-b', 'side/way');
    repository.write({ f: '3' }).commit();
    repository.git('update-ref', 'refs/pull/7/head', 'HEAD');
    repository.git('checkout', '-q', 'main');
    const url = server.url('a/x');
    const f = async (fragment: string) =>
      (await filesOf(`${url}${fragment}`)).find((line) => line.includes(' /f ')) ?? 'none';
    expect(await f('')).toBe('644 0:0 /f "2"');
    expect(await f('#main')).toBe('644 0:0 /f "2"');
    expect(await f('#side/way')).toBe('644 0:0 /f "3"');
    expect(await f('#refs/heads/side/way')).toBe('644 0:0 /f "3"');
    expect(await f('#pull/7/head')).toBe('644 0:0 /f "3"');
    expect(await f('#plain')).toBe('644 0:0 /f "1"');
    expect(await f('#v1')).toBe('644 0:0 /f "1"');
    expect(await f(`#${first}`)).toBe('644 0:0 /f "1"');
    expect(await filesOf(`${url}#main:d`)).toEqual(['644 0:0 /.dockerignore "Dockerfile\\n"', '644 0:0 /g "G"']);
    expect(await filesOf(`${url}#:/d/`)).toEqual(await filesOf(`${url}#main:d`));
    expect(leftovers()).toEqual([]);
  });

  test('by a name has the files of the tag and the folder that its URL names, with rules of its own', async () => {
    const repository = server.repository('x').write({ 'd/f': '1', 'd/out': 'o', 'd/.dockerignore': 'out\n', g: 'G' });
    repository.commit();
    repository.git('tag', 'v1');
    repository.write({ 'd/f': '2' }).commit();
    shop.write({ Dockerfile: 'FROM scratch\nCOPY --from=lib f /\n' });
    const files = (fragment: string) => filesOf('--build-context', `lib=${server.url('x')}${fragment}`, shop.context);
    expect(await files('#v1:d')).toEqual(['644 0:0 /f "1"']);
    expect(await files('#main:d')).toEqual(['644 0:0 /f "2"']);
    shop.write({ Dockerfile: 'FROM scratch\nCOPY --from=lib . /\n' });
    expect((await files('#v1:d')).filter((line) => line.includes('/out'))).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  test('has files with modes and links, the time of the commit, and .git if it is asked for', async () => {
    const repository = server.repository('x').write({ Dockerfile: DOCKERFILE, run: 'R' }).link('l', 'run');
    repository.git('update-index', '--add', '--chmod=+x', 'run');
    repository.git('config', 'core.fileMode', 'false');
    repository.commit();
    const files = ['644 0:0 /Dockerfile "FROM scratch\\nCOPY . /\\n"', '/l -> run', '755 0:0 /run "R"'];
    const url = server.url('x');
    expect(await filesOf(url)).toEqual(files);
    const { layers } = await shop.open('made');
    const inode = buildStore(shop.home.path).tree(layers).root.children.get('run')?.inode;
    expect(inode?.mtime.seconds).toBe(1234567890);
    const kept = await filesOf('--build-arg', 'BUILDKIT_CONTEXT_KEEP_GIT_DIR=1', url);
    expect(kept.filter((line) => !line.includes(' /.git/'))).toEqual(files);
    expect(kept.find((line) => line.includes(' /.git/config '))).toContain(`url = ${url}`);
  });

  test('gives the same image twice, from the cache', async () => {
    server.repository('x').write({ Dockerfile: DOCKERFILE, f: '1' }).commit();
    const [one, two] = [
      await finished(start([server.url('x')])),
      await finished(start(['--no-cache', server.url('x')])),
    ];
    expect(one.code).toBe(0);
    expect(two).toEqual(one);
  });

  test('has its submodules, and theirs, by relative URLs too', async () => {
    const inner = server.repository('inner').write({ i: 'I' }).commit();
    const middle = server
      .repository('middle')
      .write({ m: 'M', '.gitmodules': '[submodule "i"]\npath = in\nurl = ../inner.git\n' });
    const id = middle.entry('160000', inner, 'in').commit();
    server
      .repository('x')
      .write({
        Dockerfile: `${DOCKERFILE}`,
        '.dockerignore': '*\n!sub\n**/.gitmodules\n',
        '.gitmodules': `[submodule "s"]\npath = sub/s\nurl = ${server.url('middle')}\n[submodule "n"]\npath = n\nurl = x\nupdate = none\n`,
      })
      .entry('160000', id, 'sub/s')
      .entry('160000', id, 'n')
      .commit();
    expect(await filesOf(server.url('x'))).toEqual([
      ...['755 0:0 /sub/', '755 0:0 /sub/s/', '755 0:0 /sub/s/in/', '644 0:0 /sub/s/in/i "I"', '644 0:0 /sub/s/m "M"'],
    ]);
  });

  test('comes over git:// too', async () => {
    server.repository('x').write({ Dockerfile: DOCKERFILE, f: '1' }).commit();
    const words = ['daemon', '--inetd', '--export-all', '--informative-errors', `--base-path=${server.root}`];
    // One for each connection, so that the port is the kernel's choice.
    const daemon = createServer({ pauseOnConnect: true }, (socket) => {
      spawn('git', ['-c', 'safe.directory=*', ...words], { stdio: [socket, socket, 'ignore'] });
      socket.destroy();
    });
    try {
      await once(daemon.listen(0, '127.0.0.1'), 'listening');
      const { port } = daemon.address() as AddressInfo;
      expect(await filesOf(`git://127.0.0.1:${port}/x.git`)).toContain('644 0:0 /f "1"');
    } finally {
      daemon.close();
    }
  });

  test('is asked for with the name and the password of the URL, which no message has', async () => {
    server.repository('x').write({ Dockerfile: DOCKERFILE, f: '1' }).commit();
    const right = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    server.answer = (request, response) => {
      if (request.headers.authorization === right) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      return true;
    };
    const url = (user: string) => server.url('x').replace('//', `//${user}@`);
    expect(await filesOf(url('me:secret'))).toContain('644 0:0 /f "1"');
    const failure = await failureOf([url('me:wrong1')]);
    expect(failure).toMatch(/^tsvm: cannot fetch http:\/\/127\.0\.0\.1:\d+\/x\.git: fatal: /);
    expect(failure).not.toContain('wrong1');
    expect(await failureOf([server.url('x')])).toContain('terminal prompts disabled');
  });

  test('is fetched without a program, a hook or a setting of the user', async () => {
    const mark = join(shop.folder, 'mark');
    const repository = server
      .repository('x')
      .write({ Dockerfile: DOCKERFILE, f: '1', '.gitattributes': '* filter=evil\n' });
    repository.commit();
    const home = join(shop.folder, 'user');
    const program = `touch ${mark}`;
    mkdirSync(join(home, 'hooks'), { recursive: true });
    writeFileSync(join(home, 'hooks/post-checkout'), `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    writeFileSync(
      join(home, '.gitconfig'),
      `[core]\nhooksPath = ${home}/hooks\nfsmonitor = ${program}\n[filter "evil"]\nsmudge = ${program}\nrequired\n` +
        `[credential]\nhelper = "!${program}"\n[init]\ntemplateDir = ${home}\n`,
    );
    const env = { HOME: home, GIT_TEMPLATE_DIR: home, GIT_ASKPASS: program, GIT_EXTERNAL_DIFF: program, GIT_DIR: home };
    expect(await finished(start([server.url('x')], env))).toMatchObject({ code: 0 });
    expect(existsSync(mark)).toBe(false);
  });
});

describe('what is wrong or hostile is one line, and leaves nothing', () => {
  test.each([
    ['#nothing', /has no nothing$/],
    ['#--upload-pack=touch', /^tsvm: invalid reference "--upload-pack=touch"/],
    ['#a..b', /^tsvm: invalid reference/],
    ['#main:../d', /^tsvm: invalid folder/],
    ['#main:.git', /^tsvm: invalid folder/],
    ['#main:none', /has no folder none$/],
    ['#main:out', /has no folder out$/],
    ['#main:file', /has no folder file$/],
    ['#main:in/../..', /^tsvm: invalid folder/],
    [`#${'1'.repeat(40)}`, /^tsvm: cannot fetch http:\S+: /],
  ])('%s', async (fragment, message) => {
    const repository = server.repository('x').write({ Dockerfile: DOCKERFILE, file: 'F', 'd/e': 'E' });
    repository.link('out', '/etc').link('in', 'd').commit();
    expect(await failureOf([`${server.url('x')}${fragment}`])).toMatch(message);
  });

  test.each([
    'ext::sh -c "touch /tmp/x"',
    'file:///etc',
    '/etc',
    '--upload-pack=touch',
    'ssh://-oProxyCommand=touch/x',
    'git@example.com:x/y.git',
    'git://example.com/x',
    '../../../../../../etc',
  ])('a submodule at %s', async (url) => {
    const id = server.repository('other').write({ a: 'A' }).commit();
    const modules = `[submodule "s"]\npath = s\nurl = ${JSON.stringify(url)}\n`;
    server.repository('x').write({ Dockerfile: DOCKERFILE, '.gitmodules': modules }).entry('160000', id, 's').commit();
    expect(await failureOf([server.url('x')])).toMatch(/the submodule s is at .*, which is refused$|cannot fetch/);
  });

  test('a submodule without a URL', async () => {
    const id = server.repository('other').write({ a: 'A' }).commit();
    const repository = server.repository('x').write({ Dockerfile: DOCKERFILE, '.gitmodules': '' });
    repository.entry('160000', id, 's').commit();
    expect(await failureOf([server.url('x')])).toMatch(/\.gitmodules has no URL of s$/);
  });

  test('a submodule of itself', async () => {
    const repository = server.repository('x').write({
      ...{ Dockerfile: DOCKERFILE, '.gitmodules': '[submodule "s"]\npath = s\nurl = ./../x.git\n' },
    });
    const first = repository.commit();
    let last = first;
    for (let at = 0; at < 12; at++) last = repository.entry('160000', last, 's').commit();
    expect(await failureOf([server.url('x')])).toMatch(/nests them deeper than 10$/);
  });

  test('more submodules than are allowed, in several of them', async () => {
    const id = server.repository('other').write({ a: 'A' }).commit();
    const names = Array.from({ length: 600 }, (_, at) => `m${at}`);
    const modules = names.map((name) => `[submodule "${name}"]\npath = ${name}\nurl = x\nupdate = none\n`).join('');
    const middle = server.repository('middle').write({ '.gitmodules': modules });
    middle.entries(names.map((name) => ['160000', id, name]));
    const many = middle.commit();
    const repository = server.repository('x').write({
      Dockerfile: DOCKERFILE,
      '.gitmodules': ['a', 'b'].map((at) => `[submodule "${at}"]\npath = ${at}\nurl = ../middle.git\n`).join(''),
    });
    repository.entry('160000', many, 'a').entry('160000', many, 'b').commit();
    expect(await failureOf([server.url('x')])).toMatch(/has more than 1000 submodules/);
  });

  test('a .gitmodules that includes a file of this host', async () => {
    const file = join(shop.folder, 'settings');
    writeFileSync(file, `[submodule "s"]\npath = s\nurl = ${server.url('other')}\n`);
    const id = server.repository('other').write({ a: 'A' }).commit();
    const repository = server.repository('x').write({
      ...{ Dockerfile: DOCKERFILE, '.gitmodules': `[include]\npath = ${file}\n` },
    });
    repository.entry('160000', id, 's').commit();
    expect(await failureOf([server.url('x')])).toMatch(/\.gitmodules has no URL of s$/);
  });

  test('a submodule below a link of another one, in a tree that has a name three times', async () => {
    const outside = join(shop.folder, 'outside');
    mkdirSync(outside);
    const id = server.repository('other').write({ a: 'A' }).link('x', outside).commit();
    const modules = ['s', 's/x/y'].map((path) => `[submodule "${path}"]\npath = ${path}\nurl = ../other.git\n`);
    const repository = server.repository('x').write({ Dockerfile: DOCKERFILE, '.gitmodules': modules.join('') });
    repository.git('add', '-A');
    const blob = (name: string) => ['100644', repository.git('rev-parse', `:${name}`), name] as const;
    const outer = repository.tree(['40000', repository.tree(['160000', id, 'y']), 'x']);
    const link = ['160000', id, 's'] as const;
    const root = repository.tree(blob('.gitmodules'), blob('Dockerfile'), link, ['40000', outer, 's'], link);
    repository.git('update-ref', 'refs/heads/main', repository.git('commit-tree', '-m', 'x', root));
    expect(await failureOf([server.url('x')])).toMatch(/the submodule s\/x\/y is no folder of its own$/);
    expect(readdirSync(outside)).toEqual([]);
  });

  test('a Dockerfile that is a link out of the repository', async () => {
    server.repository('x').write({ a: 'A' }).link('Dockerfile', '/etc/passwd').commit();
    const { code, stderr } = await finished(start([server.url('x')]));
    expect({ code, stderr: stderr.split('\n')[0] }).toEqual({
      ...{ code: 125, stderr: 'tsvm: unable to find the Dockerfile: no such file: Dockerfile' },
    });
  });

  test('links that COPY follows lead nowhere out of it', async () => {
    const repository = server.repository('x').write({ Dockerfile: 'FROM scratch\nCOPY l/passwd /\n' });
    repository.link('l', '/etc').commit();
    expect((await finished(start([server.url('x')]))).stderr).toContain('tsvm: "/l/passwd": not found');
  });

  test('files that are a thousand times the size of their repository', async () => {
    const repository = server.repository('x').write({ Dockerfile: DOCKERFILE });
    const zeros = join(shop.folder, 'zeros');
    writeFileSync(zeros, '');
    truncateSync(zeros, 100 * 2 ** 20);
    const id = repository.git('hash-object', '-w', zeros);
    repository.entries(Array.from({ length: 11 }, (_, at) => ['100644', id, `zeros-${at}`]));
    repository.commit();
    expect(await failureOf([server.url('x')])).toMatch(/cannot check out .*: its files expand to more than 500 times/);
  });

  test('a redirect to another server of this host, which the named one may not lead to', async () => {
    // From a server that only this host can reach, others of this host are within reach.
    server.repository('x').write({ Dockerfile: DOCKERFILE, f: '1' }).commit();
    using other = await GitServer.open(server.root);
    other.answer = (request, response) => {
      response.writeHead(302, { location: `http://${server.host}${request.url}` }).end();
      return true;
    };
    expect(await filesOf(other.url('x'))).toContain('644 0:0 /f "1"');
    other.answer = (_, response) => {
      response.writeHead(302, { location: 'file:///etc/passwd' }).end();
      return true;
    };
    expect(await failureOf([other.url('x')])).toMatch(/cannot fetch/);
  });

  test('a server that sends something else, or ends early', async () => {
    server.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('hello');
      return true;
    };
    expect(await failureOf([server.url('x')])).toMatch(/\/x\.git has no default branch$/);
    server.answer = (request) => {
      request.socket.destroy();
      return true;
    };
    expect(await failureOf([server.url('x')])).toMatch(/^tsvm: cannot fetch .*\/x\.git: fatal: /);
    server.answer = (request) => {
      request.socket.end('HTTP/1.1 099 No\r\n\r\n');
      return true;
    };
    expect(await failureOf([server.url('x')])).toMatch(/^tsvm: cannot fetch .*\/x\.git: fatal: /);
  });

  test('no git on this host', async () => {
    const folder = join(shop.folder, 'empty');
    mkdirSync(folder);
    const env = { ...process.env, TSVM_HOME: shop.home.path, PATH: folder };
    const child = spawn(process.execPath, [TSVM, 'build', server.url('x')], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    expect(await finished(child)).toMatchObject({
      stderr: 'tsvm: a repository is fetched by git, which is not installed: apt install git\n',
    });
  });
});

test.each<[NodeJS.Signals, number]>([
  ['SIGINT', 130],
  ['SIGTERM', 143],
])('%s ends the wait for a silent server, and git', async (signal, code) => {
  const asked = new Promise<void>((resolve) => {
    server.answer = () => {
      resolve();
      return true;
    };
  });
  const child = start([server.url('x')]);
  const end = finished(child);
  await asked;
  child.kill(signal);
  expect(await end).toEqual({ code, stdout: '', stderr: `tsvm: ended by ${signal}\n` });
  expect(leftovers()).toEqual([]);
  const commands = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => environmentOf(pid));
  expect(commands.filter((text) => text.includes(server.host))).toEqual([]);
});

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    return '';
  }
}

describe('ADD', () => {
  test('copies the files of a repository, and asks only for the commit if the cache has them', async () => {
    openServer();
    const repository = server.repository('x').write({ f: '1', 'd/g': 'G' });
    repository.commit();
    repository.git('tag', '-a', '-m', 'x', 'v1');
    const built = await shop.build(
      `FROM scratch\nADD ${server.url('x')} /to\nADD --chown=5:6 ${server.url('x')}#v1:d /d/\n`,
    );
    expect(await built.files()).toEqual([
      ...['755 5:6 /d/', '644 5:6 /d/g "G"'],
      ...['755 0:0 /to/', '755 0:0 /to/d/', '644 0:0 /to/d/g "G"', '644 0:0 /to/f "1"'],
    ]);
    server.asked.length = 0;
    const again = await shop.build(`FROM scratch\nADD ${server.url('x')} /to\n`);
    expect(again.events.filter(({ is }) => is === 'cached')).toHaveLength(1);
    expect(server.asked.filter((line) => line.startsWith('POST'))).toHaveLength(1);
    repository.write({ f: '2' }).commit();
    const changed = await shop.build(`FROM scratch\nADD ${server.url('x')} /to\n`);
    expect(await changed.files()).toContain('644 0:0 /to/f "2"');
    expect(leftovers()).toEqual([]);
  });

  test('keeps .git if it is asked to, and other sources beside it', async () => {
    openServer();
    shop.write({ a: 'A' });
    const repository = server.repository('x').write({ f: '1' });
    const id = repository.commit();
    const { files } = await shop.build(`FROM scratch\nADD --keep-git-dir=true ${server.url('x')} a /to/\n`);
    const lines = await files();
    expect(lines).toContain(`644 0:0 /to/.git/HEAD "${id}\\n"`);
    expect(lines).toContain('644 0:0 /to/f "1"');
    expect(lines).toContain('644 0:0 /to/a "A"');
  });

  test('takes the checksum of a commit, or of a tag that leads to it', async () => {
    openServer();
    const repository = server.repository('x').write({ f: '1' });
    const id = repository.commit();
    repository.git('tag', '-a', '-m', 'x', 'v1');
    const tag = repository.git('rev-parse', 'v1');
    const build = (sum: string, ref: string) =>
      shop.build(`FROM scratch\nADD --checksum=${sum} ${server.url('x')}${ref} /\n`);
    for (const [sum, ref] of [
      [id, ''],
      [id, '#v1'],
      [tag, '#v1'],
      [id, `#${id}`],
    ] as const) {
      expect(await (await build(sum, ref)).files()).toEqual(['644 0:0 /f "1"']);
    }
    await expect(build('0'.repeat(40), '#v1')).rejects.toThrow(`the commit is ${id}, not as --checksum says`);
    await expect(build('0123', '#v1')).rejects.toThrow('expected the whole ID of a commit');
  });

  test('leads to no server of this host, its networks or other protocols', async () => {
    server.repository('x').write({ f: '1' }).commit();
    const add = (url: string, options = {}) => shop.build(`FROM scratch\nADD ${url} /\n`, options);
    await expect(add(server.url('x'))).rejects.toThrow(/127\.0\.0\.1 is not on the public Internet: see docs/);
    await expect(add('http://169.254.169.254/x.git')).rejects.toThrow(/is not on the public Internet/);
    await expect(add('https://localhost/x.git')).rejects.toThrow(/is not on the public Internet/);
    expect(server.asked).toEqual([]);
    await expect(add('git@example.com:x.git')).rejects.toThrow(
      'git@example.com:x.git: no SSH key "default" forwarded from the client: give it by --ssh',
    );
    const socket = join(shop.folder, 'agent');
    const agent = createServer().listen(socket);
    await once(agent, 'listening');
    const ssh = new Map([['default', { socket }]]);
    for (const host of ['127.0.0.1', 'localhost:2222', '[::ffff:10.0.0.1]', '169.254.169.254']) {
      await expect(add(`ssh://git@${host}/x.git`, { ssh })).rejects.toThrow(/is not on the public Internet: see docs/);
    }
    await expect(add('ssh://git@a;id/x.git', { ssh })).rejects.toThrow('ADD takes a repository by https, http or ssh');
    await expect(add('git@localhost:x.git', { ssh, network: 'none' })).rejects.toThrow(
      'cannot fetch git@localhost:x.git: the network of this build is none',
    );
    agent.close();
    await expect(add('git://example.com/x.git')).rejects.toThrow('ADD takes a repository by https, http or ssh');
    await expect(add('https://example.com/x.git', { network: 'none' })).rejects.toThrow(
      'the network of this build is none',
    );
    openServer();
    using other = await GitServer.open(server.root);
    server.answer = (request, response) => {
      response.writeHead(302, { location: `http://${other.host}${request.url}` }).end();
      return true;
    };
    await expect(add(server.url('x'))).rejects.toThrow(/is not on the public Internet/);
    expect(other.asked).toEqual([]);
  });
});
