// Writes tsvm-X.Y.Z.tgz, the npm package, to the project's root: builds everything, adds the guest's
// kernel, and checks that no file names this machine's folders.
//
// The same sources, modules, kernel and Node.js give the same bytes, in whatever folder.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';

const root = fileURLToPath(new URL('.', import.meta.url));
process.chdir(root);
process.umask(0o022);

/** The kernels of the package, and the files of each. Those that end in `*` are compressed. */
const KERNELS = { guest: ['config', 'vmlinux*'] };
const PACKED = 'dist/kernels';

const run = (command, ...words) =>
  execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

function compress(data) {
  // A better quality takes eight times as long and saves 4 percent.
  const params = { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_LGWIN]: 24 };
  return brotliCompressSync(data, { params: { ...params, [constants.BROTLI_PARAM_SIZE_HINT]: data.length } });
}

/** Writes a kernel and its manifest. kernels/packed.ts reads them. */
function packKernel(name) {
  const from = dirname(run('bin/tsvm', 'kernel', 'path', name).trimEnd());
  const [, version] = /^[a-z]+-(.+)-[0-9a-f]{16}$/.exec(basename(from));
  const to = join(PACKED, basename(from));
  mkdirSync(to, { recursive: true });
  const files = KERNELS[name].map((word) => {
    const compressed = word.endsWith('*');
    const file = word.replace('*', '');
    const data = readFileSync(join(from, file));
    writeFileSync(join(to, compressed ? `${file}.br` : file), compressed ? compress(data) : data);
    return { name: file, size: data.length, sha256: sha256(data), compressed };
  });
  const config = readFileSync(join(from, 'config'), 'utf8');
  const fragments = ['base.config', `${name}.config`];
  const manifest = {
    source: /-\d+$/.test(version)
      ? `Debian's linux-source-${version.split('.').slice(0, 2).join('.')} ${version}`
      : `Linux ${version}`,
    compiler: /^CONFIG_CC_VERSION_TEXT="(.*)"$/m.exec(config)[1],
    licence: 'GPL-2.0 WITH Linux-syscall-note',
    fragments: Object.fromEntries(fragments.map((file) => [file, sha256(readFileSync(join('kernels', file)))])),
    files,
  };
  writeFileSync(join(to, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Fails if a file has a path of this machine. */
function checkPaths(files) {
  const own = [root, `${homedir()}/`].filter((path) => path.length > 2);
  for (const { path } of files) {
    const text = readFileSync(path, 'latin1');
    const found = own.find((folder) => text.includes(folder));
    if (found !== undefined) throw new Error(`${path} contains ${found}`);
  }
}

try {
  for (const left of [PACKED, 'dist/types']) rmSync(left, { recursive: true, force: true });
  run('npm', 'run', '--silent', 'build');
  for (const name of Object.keys(KERNELS)) packKernel(name);
  const [{ files }] = JSON.parse(run('npm', 'pack', '--dry-run', '--json'));
  checkPaths(files);
  // npm keeps what the user's umask has made of a checkout.
  for (const { path } of files) chmodSync(path, statSync(path).mode & 0o100 ? 0o755 : 0o644);
  const [{ filename, size, unpackedSize }] = JSON.parse(run('npm', 'pack', '--json'));
  process.stdout.write(
    `${filename}: ${(size / 1e6).toFixed(1)} MB, ${(unpackedSize / 1e6).toFixed(1)} MB unpacked, ` +
      `${files.length} files, sha256 ${sha256(readFileSync(filename))}\n`,
  );
} finally {
  // A checkout runs the kernel that its fragments describe.
  rmSync(PACKED, { recursive: true, force: true });
}
