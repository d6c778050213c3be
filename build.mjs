// Bundles the programs into dist/: the CLI (lazy chunks), the machine process and its vCPU worker, the lab, the
// benchmarks; and builds the guest agent's initramfs.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { build } from 'esbuild';

const dist = new URL('dist/', import.meta.url).pathname;
rmSync(dist, { recursive: true, force: true });

await build({
  entryPoints: {
    cli: 'cli/main.ts',
    machine: 'vmm/process.ts',
    vcpu: 'vmm/accel/vcpu-worker.ts',
    lab: 'test/lab/main.ts',
    bench: 'test/bench/main.ts',
  },
  outdir: dist,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: ['koffi'],
  minifySyntax: true,
  legalComments: 'none',
  logLevel: 'warning',
  // CommonJS packages inside an ES module bundle ask for `require`.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
});

execFileSync('make', ['-s', '-C', 'guest-agent', `OUT=${dist}`], { stdio: 'inherit' });
