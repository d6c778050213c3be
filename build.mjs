// Bundles the programs into dist/: the CLI (one file, compiled ahead), the SDK, the supervisor, the
// machine process and its vCPU worker, the lab, the benchmarks and the examples. It also builds the
// guest agent's initramfs and the launcher of jails.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

const dist = new URL('dist/', import.meta.url).pathname;

const common = {
  outdir: dist,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  logLevel: 'warning',
};

const { metafile } = await build({
  ...common,
  entryPoints: {
    machine: 'vmm/process/main.ts',
    vcpu: 'vmm/accel/kvm/vcpu-worker.ts',
    supervisor: 'sandbox/supervision/supervisor.ts',
    sdk: 'sandbox/index.ts',
    lab: 'test/lab/main.ts',
    bench: 'test/bench/main.ts',
  },
  splitting: true,
  external: ['koffi'],
  minifySyntax: true,
  legalComments: 'none',
  metafile: true,
  // CommonJS packages inside an ES module bundle ask for `require`.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
});

// One file for all commands. Finding and loading many files costs more than reading one whose code
// V8 has mostly compiled already.
const cli = join(dist, 'cli.cjs');
const { outputFiles } = await build({
  ...common,
  entryPoints: ['cli/main.ts'],
  format: 'cjs',
  external: ['koffi'],
  minifySyntax: true,
  legalComments: 'none',
  write: false,
  define: { 'import.meta.url': '__url' },
  banner: {
    js: "(function (exports, require, module, __filename, __dirname) { const __url = require('node:url').pathToFileURL(__filename).href;",
  },
  footer: { js: '})' },
});
const hash = createHash('sha256').update(outputFiles[0].contents).digest('hex');
writeFileSync(`${cli}.new`, `${outputFiles[0].text}//${hash}\n`);
renameSync(`${cli}.new`, cli);
for (const name of readdirSync(dist).filter((name) => /^cli\.cjs\.[0-9a-f]+$/.test(name))) rmSync(join(dist, name));
const empty = mkdtempSync(join(tmpdir(), 'tsvm-build-'));
execFileSync(process.execPath, ['bin/compile.cjs', cli], {
  env: { ...process.env, TSVM_HOME: empty, XDG_RUNTIME_DIR: empty },
  stdio: 'inherit',
});
rmSync(empty, { recursive: true });

// The examples import the package by its name, as a user's program does.
const examples = readdirSync(new URL('examples/', import.meta.url)).filter((name) => name.endsWith('.ts'));
await build({
  ...common,
  entryPoints: examples.map((name) => `examples/${name}`),
  outdir: join(dist, 'examples'),
  external: ['tsvm'],
});
const tests = ['fleet', 'random-kills'];
await build({ ...common, entryPoints: tests.map((name) => `test/e2e/${name}.ts`), external: ['tsvm'] });

// The network device of the benchmark `flows` is a process of its own.
const device = 'test/fixtures/flows/device.ts';
await build({
  ...common,
  entryPoints: [device],
  outdir: undefined,
  outfile: join(dist, 'bench/device.mjs'),
  external: ['koffi'],
});

// Programs that run from dist survive a build: files are replaced first, and old chunks removed
// last.
const built = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
for (const name of readdirSync(dist)) {
  if (name.endsWith('.js') && !tests.includes(basename(name, '.js')) && !built.has(name)) rmSync(join(dist, name));
}

// `--programs`: only what Node.js runs. The agent and the launcher need a C compiler.
if (!process.argv.includes('--programs')) {
  for (const folder of ['guest-agent', 'jail']) {
    execFileSync('make', ['-s', '-C', folder, `OUT=${dist}`], { stdio: 'inherit' });
  }
}
