// Builds a kernel again, in another folder than the cached one, and compares the two byte by byte.
// Argument: the kernel (default: guest). Without a cached kernel it builds both.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [name = 'guest'] = process.argv.slice(2);
const tsvm = fileURLToPath(new URL('../bin/tsvm', import.meta.url));

/** Returns the folder of a kernel, which is built unless the cache has it. */
function build(cache) {
  const env = { ...process.env, ...(cache !== undefined && { TSVM_KERNEL_CACHE: cache }) };
  const path = execFileSync(tsvm, ['kernel', 'build', name], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return dirname(path.trimEnd());
}

const first = build();
const folder = mkdtempSync('/var/tmp/tsvm-kernel-');
try {
  const cache = join(folder, 'a/much/deeper/folder');
  mkdirSync(cache, { recursive: true });
  const second = build(cache);
  const files = readdirSync(second);
  const different = files.filter((file) => !readFileSync(join(first, file)).equals(readFileSync(join(second, file))));
  if (different.length > 0) {
    console.error(`kernel-again: ${different.join(', ')} of ${first} and of the new build differ`);
    process.exitCode = 1;
  } else {
    console.log(`${files.join(', ')} of ${first} are what a build in ${cache} gives`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
