// Proves that the npm package has what it should and nothing else, that it can be made again with the
// same bytes, and that Node.js alone is enough to install and use it.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installPackage, makePackage } from '../fixtures/package.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

let folder: string;
/** Two packages of the same sources. */
let packages: [string, string];
/** The unpacked package. */
let content: string;
/** The installed command. */
let tsvm: string;

const namesIn = (name: string, ending: string) =>
  readdirSync(join(root, name))
    .filter((file) => file.endsWith(ending))
    .map((file) => `${name}/${file}`);

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const other = join(folder, 'another folder, far deeper', 'of another user');
  packages = [makePackage(join(folder, 'one')), makePackage(other, '077')];
  execFileSync('tar', ['xzf', packages[0], '-C', folder]);
  content = join(folder, 'package');
  tsvm = installPackage(packages[0], join(folder, 'home'));
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true }));

const filesOf = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort();

const manifestOf = (path: string) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));

test('made twice, in different folders and by users with different umasks, it has the same bytes', () => {
  const sums = packages.map((path, index) => {
    const to = join(folder, `content-${index}`);
    mkdirSync(to);
    execFileSync('tar', ['xzf', path, '-C', to]);
    const sum = (name: string) =>
      createHash('sha256')
        .update(readFileSync(join(to, name)))
        .digest('hex');
    return Object.fromEntries(filesOf(to).map((name) => [name, sum(name)]));
  });
  // Names the files that differ.
  expect(sums[1]).toEqual(sums[0]);
  expect(readFileSync(packages[1]).equals(readFileSync(packages[0]))).toBe(true);
});

/** The files of dist/ that a program loads, itself included. */
function loaded(name: string, found = new Set<string>()): Set<string> {
  if (found.has(name)) return found;
  found.add(name);
  const text = readFileSync(join(content, 'dist', name), 'utf8');
  for (const [, next = ''] of text.matchAll(/["']\.\/([\w-]+\.js)["']/g)) {
    if (existsSync(join(content, 'dist', next))) loaded(next, found);
  }
  return found;
}

/** The declarations that a declaration names, itself included. */
function declared(path: string, found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  const text = readFileSync(join(content, path), 'utf8');
  for (const [, next = ''] of text.matchAll(/(?:from |import\()['"](\.[^'"]+)\.js['"]/g)) {
    declared(join(dirname(path), `${next}.d.ts`), found);
  }
  return found;
}

describe('its list of files', () => {
  test('is exact', () => {
    const files = filesOf(content);
    const [kernel = ''] = readdirSync(join(content, 'dist/kernels'));
    expect(kernel).toMatch(/^guest-[\d.-]+-[0-9a-f]{16}$/);
    const entries = ['template', 'egress', 'keeper', 'sdk', 'service'];
    const programs = entries.flatMap((name) => [...loaded(`${name}.js`)]);
    const scripts = ['cli', 'cli-short', 'cli-rest', 'compare-page', 'load', 'machine', 'machine-start'];
    scripts.push('machine-rest', 'supervisor', 'supervisor-start', 'supervisor-run', 'supervisor-rest', 'vcpu');
    const wanted = [
      ...['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'package.json'],
      ...['bin/package.json', 'bin/tsvm'],
      ...scripts.map((name) => `dist/${name}.cjs`),
      ...[
        'dist/initramfs.cpio',
        'dist/licences.txt',
        'dist/serve-page.js',
        'dist/sqlite.node',
        'dist/tsvm-gauge',
        'dist/tsvm-jail',
        'dist/tsvm-oci',
      ],
      ...['index.cjs', 'linux-x64/index.js', 'linux-x64/linux_x64/koffi.node', 'linux-x64/package.json'].map(
        (name) => `dist/koffi/${name}`,
      ),
      ...['config', 'manifest.json', 'vmlinux.br'].map((name) => `dist/kernels/${kernel}/${name}`),
      ...new Set(programs.map((name) => `dist/${name}`)),
      ...namesIn('docs', '.md'),
      ...namesIn('kernels', '.config'),
      ...namesIn('kernels', '.patch'),
      ...['docs/compare.schema.json', 'docs/serve.openapi.json', 'kernels/README.md'],
    ];
    expect(files.filter((name) => !name.startsWith('dist/types/'))).toEqual(wanted.sort());
  });

  test('has the declarations of the SDK, and of nothing that it does not name', () => {
    const names = filesOf(content).filter((name) => name.startsWith('dist/types/'));
    const reached = declared('dist/types/sandbox/index.d.ts');
    expect([...reached].filter((name) => !names.includes(name))).toEqual([]);
    expect(
      names.filter((name) => !existsSync(join(root, name.slice('dist/types/'.length).replace('.d.ts', '.ts')))),
    ).toEqual([]);
  });

  test('has no file that names a folder of the machine that made it, and no source map', () => {
    const own = [folder, root, process.env.HOME ?? '/root'];
    const files = filesOf(content);
    const naming = files.filter((name) => {
      const text = readFileSync(join(content, name), 'latin1');
      return own.some((path) => text.includes(`${path}/`)) || text.includes('sourceMappingURL=');
    });
    expect(naming).toEqual([]);
    expect(files.filter((name) => name.endsWith('.map'))).toEqual([]);
  });
});

test('it needs no other package, and runs nothing while it is installed', () => {
  const { dependencies, optionalDependencies, peerDependencies, scripts } = manifestOf(content);
  expect({ dependencies, optionalDependencies, peerDependencies }).toEqual({});
  const hooks = ['preinstall', 'install', 'postinstall', 'prepare', 'preprepare', 'postprepare'];
  expect(Object.keys(scripts).filter((name) => hooks.includes(name))).toEqual([]);
  expect(filesOf(content).filter((name) => name.endsWith('binding.gyp'))).toEqual([]);
});

test("it has the licence of each package in its bundles, and says where the kernel's source is", () => {
  const licences = readFileSync(join(content, 'dist/licences.txt'), 'utf8');
  const scoped = ['@hono/node-server', '@photostructure/sqlite'];
  const names = ['commander', 'execa', 'hono', 'koffi', 'linkedom', 'pino', 'simple-statistics', 'tar', 'zod'];
  for (const name of [...scoped, ...names]) expect(licences).toMatch(new RegExp(`^${name} \\d`, 'm'));
  // Each has a text below its name.
  for (const part of licences.split(/^-{80}$/m)) expect(part.trim().split('\n').length).toBeGreaterThan(5);
});

/** Runs the installed command for a user who has no program but Node.js, and a home of his own. */
function installed(words: string[], { wrap = [], env = {} }: { wrap?: string[]; env?: Record<string, string> } = {}) {
  const bare = join(folder, 'bare');
  if (!existsSync(bare)) {
    mkdirSync(bare);
    symlinkSync(process.execPath, join(bare, 'node'));
  }
  const home = mkdtempSync(join(folder, 'user-'));
  const [command = '', ...rest] = [...wrap, tsvm, ...words];
  const { status, stdout, stderr } = spawnSync(command, rest, {
    ...{ encoding: 'utf8', cwd: home },
    env: { PATH: wrap.length > 0 ? `${bare}:/usr/sbin:/usr/bin:/sbin:/bin` : bare, HOME: home, ...env },
  });
  return { status, stdout, stderr, home };
}

describe('installed without a network', () => {
  test('it prints its version and its help', () => {
    const { version } = manifestOf(content);
    expect(installed(['--version'])).toMatchObject({ status: 0, stdout: `tsvm ${version}\n`, stderr: '' });
    expect(installed(['run', '--help'])).toMatchObject({ status: 0, stderr: '' });
  });

  test('doctor and `kernel ls` say which kernel came with it, and unpack nothing', () => {
    const { stdout, home } = installed(['doctor', '--format', 'json']);
    const { kernel } = JSON.parse(stdout);
    expect(kernel).toMatchObject({
      verdict: 'ok',
      found: expect.stringMatching(
        /^(Debian's linux-source-|Linux )\d\S* .*, which came with tsvm: the first run unpacks/,
      ),
    });
    const listed = JSON.parse(installed(['kernel', 'ls', '--format', 'json']).stdout);
    expect(listed).toMatchObject({
      name: 'guest',
      current: true,
      packed: { compiler: expect.stringContaining('gcc') },
    });
    expect(Object.keys(listed.packed.fragments)).toEqual(['base.config', 'guest.config']);
    for (const [file, sum] of Object.entries(listed.packed.fragments)) {
      const fragment = readFileSync(join(content, 'kernels', file));
      expect(createHash('sha256').update(fragment).digest('hex')).toBe(sum);
    }
    // The version is that of the source: Debian's package with its revision, or Linux's own.
    expect(listed.packed.source.split(' ').at(-1)).toBe(listed.version);
    expect(existsSync(join(home, '.cache'))).toBe(false);
  });

  test('its kernel is the one that it was made with, also if its folder cannot be written', () => {
    const readOnly = ['unshare', '-m', 'sh', '-c', 'mount --bind -r "$0" "$0" && exec "$@"', join(folder, 'home')];
    const { status, stdout, stderr } = installed(['kernel', 'path'], { wrap: readOnly });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const built = execFileSync(join(root, 'bin/tsvm'), ['kernel', 'path'], { encoding: 'utf8' }).trim();
    expect(readFileSync(stdout.trim()).equals(readFileSync(built))).toBe(true);
  });

  test('a full disk is one clear line, and the next try succeeds', () => {
    const script = `mkdir cache && mount -t tmpfs -o size=20m none cache
      "$@" 2>&1; echo "= $?"; ls -A cache
      mount -o remount,size=60m cache && "$@" > /dev/null && echo = 0`;
    const { stdout } = installed(['kernel', 'path'], {
      wrap: ['unshare', '-m', 'sh', '-c', script, 'sh'],
      env: { TSVM_KERNEL_CACHE: 'cache' },
    });
    expect(stdout.trim().split('\n')).toEqual([
      expect.stringMatching(/^tsvm: cannot unpack the guest kernel \(23 MB\): ENOSPC: no space left on device.*$/),
      '= 125',
      '= 0',
    ]);
  });

  test('a machine process starts in its jail', () => {
    const { stdout } = installed(['doctor', '--format', 'json']);
    const { kvm, jail } = JSON.parse(stdout);
    expect(kvm.reason).toEqual(expect.any(String));
    expect(jail.found).toMatch(/files: (namespace|landlock)/);
  });

  test('without KVM and QEMU `run` says in one line what to install', () => {
    const layout = 'oci:/nowhere';
    const { status, stderr } = installed(['run', '--accel', 'tcg', '--rm', layout, 'true']);
    expect(status).toBe(125);
    expect(stderr).toMatch(/^tsvm: [^\n]+\n$/);
  });

  test('a program finds the SDK, and TypeScript its declarations', () => {
    const project = join(folder, 'project');
    mkdirSync(join(project, 'node_modules/@types'), { recursive: true });
    symlinkSync(dirname(dirname(realpathSync(tsvm))), join(project, 'node_modules/tsvm'));
    symlinkSync(join(root, 'node_modules/@types/node'), join(project, 'node_modules/@types/node'));
    writeFileSync(join(project, 'package.json'), '{"type":"module"}');
    const program =
      "import { Container, Home } from 'tsvm';\nconst all = Container.list(new Home());\nconsole.log(all.length);\n";
    writeFileSync(join(project, 'program.js'), program);
    const env = { ...process.env, TSVM_HOME: join(project, 'home') };
    expect(execFileSync(process.execPath, ['program.js'], { cwd: project, encoding: 'utf8', env })).toBe('0\n');
    writeFileSync(join(project, 'program.ts'), `${program}const wrong: string = all;\n`);
    const options = ['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext', '--types', 'node'];
    const { stdout } = spawnSync(join(root, 'node_modules/.bin/tsc'), [...options, 'program.ts'], {
      ...{ cwd: project, encoding: 'utf8' },
    });
    expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/^program\.ts\(4,7\): error TS2322/)]);
  });
});
