// What stays for the life of each container, and what each command starts with, is small.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

/** The files that a program loads before it imports any by a call, and modules of Node.js. */
async function loadedBy(entryPoints: string[]): Promise<string[]> {
  const { metafile } = await build({
    ...{ entryPoints, absWorkingDir: project, outdir: '/nowhere', write: false, metafile: true },
    ...({ bundle: true, splitting: true, format: 'esm', platform: 'node', external: ['koffi'] } as const),
  });
  const loaded = new Set<string>();
  const load = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { path: next, kind } of metafile.inputs[path]?.imports ?? []) {
      if (kind !== 'dynamic-import' && next !== 'koffi') load(next);
    }
  };
  entryPoints.forEach(load);
  expect(loaded.size).toBeGreaterThan(10);
  return [...loaded];
}

// The second of a pair is what the first imports in any case, once it has started its thread or process.
test.each([
  ['supervisor', ['sandbox/supervision/supervisor.ts', 'sandbox/supervision/supervision.ts']],
  ['machine process', ['vmm/process/main.ts', 'vmm/process/server.ts']],
  ['vCPU thread', ['vmm/accel/kvm/vcpu-worker.ts']],
])('the %s loads no library but koffi', async (_, entryPoints) => {
  expect((await loadedBy(entryPoints)).filter((path) => path.includes('node_modules'))).toEqual([]);
});

test('a command that asks a supervisor loads nothing of what starts machines, and one library', async () => {
  const words = ['ps', 'exec', 'kill', 'logs', 'stop', 'rm', 'wait', 'port', 'top', 'stats', 'pause', 'attach'];
  const commands = [...words.map((word) => `container/${word}`), 'system/inspect'];
  const loaded = await loadedBy([
    ...['cli/main.ts', 'cli/program.ts'],
    ...commands.map((command) => `cli/commands/${command}.ts`),
  ]);
  const heavy = /^(vmm\/(?!machine|json-lines|saved-state|rate)|kernels\/|build\/|compare\/|service\/)/;
  const starting =
    /^sandbox\/(machines|supervision\/supervision|machine\/machine-client|run\/(?!trace|resource-stack))/;
  const unwanted = [heavy, starting, /^(node:)?zlib$/, /node_modules\/(?!commander\/)/];
  expect(loaded.filter((path) => unwanted.some((pattern) => pattern.test(path)))).toEqual([]);
});

test('a command that needs no call of the C library does not load koffi', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-weight-'));
  try {
    const lister = join(folder, 'list.cjs');
    writeFileSync(
      lister,
      'process.on("exit", () => process.stdout.write(process.report.getReport().sharedObjects.join("\\n")));',
    );
    const listed = (...words: string[]) =>
      execFileSync(process.execPath, ['--require', lister, join(project, 'bin/tsvm'), ...words], {
        encoding: 'utf8',
        env: { ...process.env, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: folder },
      });
    expect(listed('ps')).toContain('libc.so.6');
    expect(listed('ps')).not.toContain('koffi');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('exec and ps load no more files of the command than they need, and modules of Node.js when they use them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-weight-'));
  try {
    const lister = join(folder, 'list.cjs');
    writeFileSync(
      lister,
      `const fs = require('node:fs');
      const { readFileSync } = fs;
      const files = new Set();
      fs.readFileSync = (path, ...rest) => {
        const [name] = /cli[\\w-]*\\.cjs$/.exec(path) ?? [];
        if (name !== undefined) files.add(name);
        return readFileSync(path, ...rest);
      };
      const unused = ['NativeModule crypto', 'NativeModule child_process', 'NativeModule fs/promises'];
      process.on('exit', () => {
        const modules = unused.filter((name) => process.moduleLoadList.includes(name));
        fs.writeSync(1, '\\n' + JSON.stringify({ files: [...files], modules }));
      });`,
    );
    const loads = (...words: string[]) => {
      const { stdout } = spawnSync(process.execPath, ['--require', lister, join(project, 'bin/tsvm'), ...words], {
        encoding: 'utf8',
        env: { ...process.env, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: folder },
      });
      return JSON.parse(stdout.slice(stdout.lastIndexOf('\n')));
    };
    expect(loads('exec', 'none', 'true')).toEqual({ files: ['cli.cjs'], modules: [] });
    expect(loads('ps')).toEqual({ files: ['cli.cjs', 'cli-short.cjs'], modules: [] });
    // The list is one of names that Node.js has.
    expect(loads('run', 'oci:/none').modules).toContain('NativeModule child_process');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('exec loads nothing of images, nor of other operations on containers', async () => {
  const loaded = await loadedBy(['cli/main.ts', 'cli/program.ts', 'cli/commands/container/exec.ts']);
  const unwanted = /^(images|seccomp|sandbox\/(snapshots|index|internal|sandbox|containers\/(?!exec\.)))/;
  expect(loaded.filter((path) => unwanted.test(path))).toEqual([]);
});

describe.each(['cli.cjs', 'cli-short.cjs', 'cli-rest.cjs', 'supervisor-run.cjs'])('%s', (file) => {
  const program = readFileSync(join(project, 'dist', file), 'latin1');

  test('has modules that are objects of one shape', () => {
    const keys = [...program.matchAll(/\b(?:__esm|__commonJS)\w*\(\s*\{\s*("?[^"(]+"?)\s*\(/g)].map(([, key]) => key);
    expect(keys.length).toBeGreaterThan(10);
    expect(new Set(keys)).toEqual(new Set(['module']));
  });
});

const SCRIPTS = ['cli.cjs', 'cli-short.cjs', 'cli-rest.cjs', 'machine-start.cjs', 'machine-rest.cjs'];
SCRIPTS.push('supervisor-start.cjs', 'supervisor-run.cjs', 'supervisor-rest.cjs');

test.each(SCRIPTS)('%s imports nothing by a call, for which Node.js 20 has no module', (file) => {
  const program = readFileSync(join(project, 'dist', file), 'latin1');
  // A method of this name has parameters.
  expect(program.match(/(?<![\w$.])import\(\s*["'`].{0,40}/g)).toBe(null);
});
