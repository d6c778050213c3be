// Bundles the programs into dist/: the CLI (lazy chunks), the SDK, the supervisor, the machine process and its vCPU
// worker, the lab, the benchmarks, the examples; and builds the guest agent's initramfs.
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
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
    cli: 'cli/main.ts',
    machine: 'vmm/process.ts',
    vcpu: 'vmm/accel/vcpu-worker.ts',
    supervisor: 'sandbox/containers/supervisor.ts',
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

// They use the package by its name, as anybody's program does.
const examples = readdirSync(new URL('examples/', import.meta.url)).filter((name) => name.endsWith('.ts'));
await build({
  ...common,
  entryPoints: examples.map((name) => `examples/${name}`),
  outdir: join(dist, 'examples'),
  external: ['tsvm'],
});
const tests = ['fleet', 'random-kills'];
await build({ ...common, entryPoints: tests.map((name) => `test/e2e/${name}.ts`), external: ['tsvm'] });

// What runs from dist goes on while it is built anew: files are replaced, and only then old chunks removed.
const built = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
for (const name of readdirSync(dist)) {
  if (name.endsWith('.js') && !tests.includes(basename(name, '.js')) && !built.has(name)) rmSync(join(dist, name));
}

execFileSync('make', ['-s', '-C', 'guest-agent', `OUT=${dist}`], { stdio: 'inherit' });
