// Builds a kernel from Linux's source and config fragments, in a folder inside the cache, and moves
// it into place when it is complete: Documentation/kbuild/kbuild.rst and reproducible-builds.rst in
// the kernel's source.
import { existsSync, readFileSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { ExecaError, execa } from 'execa';
import {
  directoryName,
  fragmentPaths,
  KERNEL_FILES,
  type KernelName,
  kernelCache,
  kernelHash,
  patchPaths,
} from './cache.js';
import { KernelError } from './errors.js';
import { lostOptions, parseOptions } from './fragments.js';
import { kernelPath } from './packed.js';
import { findSource, type KernelSource, SOURCE_PACKAGES } from './source.js';
import { checkToolchain } from './toolchain.js';
import { makeWorkFolder, placeFiles } from './work-folder.js';

export interface BuildOptions {
  /** A kernel source tree, which is built as it is. Default: Debian's package, with our patches. */
  source?: string;
  /** The cache's folder. Default: the user's own. */
  cache?: string;
  onProgress?: (progress: BuildProgress) => void;
}

export interface BuildProgress {
  phase: 'unpack' | 'configure' | 'compile';
  /** Objects built so far. */
  done: number;
  /** The expected number of objects. */
  total: number;
}

/** The approximate number of objects of each kernel. Used for progress only. */
const OBJECTS: Record<KernelName, number> = { guest: 2030, lab: 1675, uml: 1500 };

const ARCHITECTURES: Record<KernelName, string> = { guest: 'x86_64', lab: 'x86_64', uml: 'um' };

/** Makes the build reproducible: it records no time, host or user. */
const ENVIRONMENT = {
  KBUILD_BUILD_TIMESTAMP: '1970-01-01 00:00:00 UTC',
  KBUILD_BUILD_USER: 'tsvm',
  KBUILD_BUILD_HOST: 'tsvm',
  KBUILD_BUILD_VERSION: '1',
  LC_ALL: 'C',
};

/** Large parts of the source that no x86 kernel without a GPU needs. */
const NOT_UNPACKED = ['*/Documentation/*/*', '*/tools/testing/*', '*/drivers/gpu/drm/*.h', '*.dts', '*.dtsi'];

/** A running build. Its folder holds the source if it was packed, make's output, and the log. */
interface Build {
  name: KernelName;
  folder: string;
  log: string;
  onProgress: (phase: BuildProgress['phase'], done?: number) => void;
}

/** Builds a kernel unless the cache has it. See `buildKernel` of index.ts. */
export async function build(name: KernelName, options: BuildOptions): Promise<string> {
  const cache = resolve(options.cache ?? kernelCache());
  const source = await findSource(name, options.source);
  if (source === undefined) {
    const path = kernelPath(name, cache);
    if (path !== undefined) return dirname(path);
    throw new KernelError(`no kernel source: apt-get install ${SOURCE_PACKAGES[name]}, or name a tree with --source`);
  }
  const directory = join(cache, directoryName(name, source.version, kernelHash(name)));
  if (isWhole(name, directory)) return directory;

  await checkToolchain();
  const folder = makeWorkFolder(cache);
  const log = join(folder, 'log');
  try {
    const onProgress: Build['onProgress'] = (phase, done = 0) =>
      options.onProgress?.({ phase, done, total: Math.max(done, OBJECTS[name]) });
    placeFiles(await compile({ name, folder, log, onProgress }, source), directory, KERNEL_FILES[name]);
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    const kept = join(cache, `${name}.log`);
    await rename(log, kept).catch(() => {});
    throw new KernelError(`the build of kernel '${name}' failed: ${firstError(kept, error)} (all of it: ${kept})`, {
      cause: error,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return directory;
}

/** Compiles a kernel in the build's folder. Returns the folder with the result. */
async function compile(build: Build, source: KernelSource): Promise<string> {
  const tree = source.packed ? await unpack(build, source.path) : resolve(source.path);
  const output = join(build.folder, 'output');
  const result = join(build.folder, 'result');
  await mkdir(output);
  await mkdir(result);

  build.onProgress('configure');
  const fragments = await Promise.all(fragmentPaths(build.name).map((path) => readFile(path, 'utf8')));
  await configure(build, tree, output, fragments);

  build.onProgress('compile');
  let done = 0;
  const hasImage = KERNEL_FILES[build.name].includes('bzImage');
  await make(build, tree, output, ['vmlinux', ...(hasImage ? ['bzImage'] : [])], (line) => {
    if (/^ {2}(CC|AS|HOSTCC|AR|LD) /.test(line)) build.onProgress('compile', ++done);
  });
  // The symbols stay: debuggers need them, and they are not loaded.
  await execa('strip', ['--strip-debug', '-o', join(result, 'vmlinux'), join(output, 'vmlinux')]);
  // A machine's user executes that of User-Mode Linux, whatever the umask of this one is.
  await chmod(join(result, 'vmlinux'), 0o755);
  if (hasImage) await copyFile(join(output, 'arch/x86/boot/bzImage'), join(result, 'bzImage'));
  await copyFile(join(output, '.config'), join(result, 'config'));
  return result;
}

async function unpack(build: Build, archive: string): Promise<string> {
  build.onProgress('unpack');
  const tree = join(build.folder, 'source');
  await mkdir(tree);
  const excluded = NOT_UNPACKED.map((pattern) => `--exclude=${pattern}`);
  const where = ['--strip-components=1', '-C', tree];
  await run(build, 'tar', ['--use-compress-program=xz -T0', '-xf', archive, ...where, ...excluded]);
  // Each must fit: without fuzz, and without a question.
  const options = ['--batch', '--forward', '--fuzz=0', '-p1', '-d', tree];
  for (const path of patchPaths(build.name)) await run(build, 'patch', [...options, '-i', path]);
  return tree;
}

/** @throws KernelError that names every option of the fragments that the final .config lacks */
async function configure(build: Build, tree: string, output: string, fragments: string[]): Promise<void> {
  const config = join(output, '.config');
  await make(build, tree, output, ['tinyconfig']);
  const fragment = join(build.folder, 'fragments.config');
  await writeFile(fragment, fragments.join('\n'));
  // -m: merge only, into $output/.config. The script only warns about lost options, so they are
  // checked below.
  await run(build, join(tree, 'scripts/kconfig/merge_config.sh'), ['-m', '-O', output, config, fragment], tree);
  await make(build, tree, output, ['olddefconfig']);
  const lost = lostOptions(parseOptions(...fragments), parseOptions(await readFile(config, 'utf8')));
  if (lost.length > 0) throw new KernelError(`options of kernel '${build.name}' are lost: ${lost.join(', ')}`);
}

async function make(build: Build, tree: string, output: string, targets: string[], onLine?: (line: string) => void) {
  const jobs = `-j${availableParallelism()}`;
  const architecture = `ARCH=${ARCHITECTURES[build.name]}`;
  await run(build, 'nice', ['make', '-C', tree, `O=${output}`, architecture, jobs, ...targets], tree, onLine);
}

/** Runs a command and appends its output to the log. */
async function run(build: Build, command: string, args: string[], cwd?: string, onLine?: (line: string) => void) {
  const log = { file: build.log, append: true } as const;
  const running = execa(command, args, {
    ...(cwd !== undefined && { cwd }),
    env: ENVIRONMENT,
    stdin: 'ignore',
    stdout: ['pipe', log],
    stderr: ['pipe', log],
    buffer: { stdout: false, stderr: true },
    maxBuffer: 1 << 20,
  });
  for await (const line of running.iterable({ from: 'stdout' })) onLine?.(line);
  await running;
}

function isWhole(name: KernelName, directory: string): boolean {
  return KERNEL_FILES[name].every((file) => existsSync(join(directory, file)));
}

/**
 * The most useful line of the log: the first error of the compiler or of make, else the command's
 * message.
 */
function firstError(log: string, error: ExecaError): string {
  try {
    const lines = readFileSync(log, 'utf8').split('\n');
    const line = lines.find((text) => /: (fatal )?error: /.test(text)) ?? lines.find((text) => text.includes('***'));
    if (line) return line.trim();
  } catch {}
  return error.shortMessage;
}
