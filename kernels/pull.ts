// Fetches a distribution's kernel as a package, and unpacks it into the cache: nothing is installed.
// apt checks the package by the keys of the host: apt-secure(8).
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { ExecaError, execa } from 'execa';
import { findProgram } from '../programs/index.js';
import { directoryName, kernelCache } from './cache.js';
import { KernelError } from './errors.js';
import { readModulesFolder } from './modules/choose.js';
import { modulesRecipe } from './modules/list.js';
import { prepareKernel } from './modules/prepare.js';
import { kernelRelease } from './modules/release.js';
import { PACKAGES, PULLED_FILES, type PulledName } from './pulled.js';
import { makeWorkFolder, placeFiles } from './work-folder.js';

export interface PullOptions {
  /** The cache's folder. Default: the user's own. */
  cache?: string;
  onProgress?: (phase: PullPhase) => void;
}

export type PullPhase = 'lists' | 'download' | 'unpack';

/** A running pull. */
interface Pull {
  name: PulledName;
  /** Has apt's lists and cache, the package, and what it contains. */
  folder: string;
  /** apt's options. */
  apt: readonly string[];
}

/** Fetches a kernel. See `pullKernel` of index.ts. */
export async function pull(name: PulledName, { cache: folder, onProgress }: PullOptions = {}): Promise<string> {
  checkPrograms(name);
  const cache = resolve(folder ?? kernelCache());
  const work = makeWorkFolder(cache);
  try {
    const running = { name, folder: work, apt: await aptOptions(work) };
    onProgress?.('lists');
    // Its failure may concern another archive. If not, the next command fails.
    await run(running, 'apt-get', ['update'], { reject: false });
    const { image, version } = await newestPackage(running);
    const directory = join(cache, directoryName(name, version, modulesRecipe(PACKAGES[name].transport)));
    if (PULLED_FILES.every((file) => existsSync(join(directory, file)))) return directory;
    onProgress?.('download');
    await run(running, 'apt-get', ['download', `${image}=${version}`]);
    onProgress?.('unpack');
    placeFiles(await unpack(running, image), directory, PULLED_FILES);
    return directory;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function checkPrograms(name: PulledName): void {
  for (const program of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    if (findProgram(program) !== undefined) continue;
    throw new KernelError(
      `kernel '${name}' is a package of Debian, and this host has no ${program}: run: tsvm kernel build, or name another with --kernel and --kernel-modules`,
    );
  }
}

/** apt with the archives and keys of the host, and with lists of its own: an ordinary user has no others. */
async function aptOptions(work: string): Promise<string[]> {
  const lists = join(work, 'lists');
  const cache = join(work, 'cache');
  await mkdir(join(lists, 'partial'), { recursive: true });
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  const options = [
    `Dir::State::lists=${lists}`,
    `Dir::Cache=${cache}`,
    'Acquire::Languages=none',
    'Acquire::Retries=2',
    // Whatever the host's configuration says: what apt cannot check is not a kernel.
    'Acquire::AllowInsecureRepositories=false',
    'APT::Get::AllowUnauthenticated=false',
    // apt's own user cannot enter the work folder.
    ...(process.getuid?.() === 0 ? ['APT::Sandbox::User=root'] : []),
  ];
  return options.flatMap((option) => ['-o', option]);
}

/** The newest package that the host's archives have, also as the package that depends on it says. */
async function newestPackage(pull: Pull): Promise<{ image: string; version: string }> {
  const { name, hasKernel } = PACKAGES[pull.name];
  const shown = await run(pull, 'apt-cache', ['show', '--no-all-versions', name], { reject: false });
  const pattern = hasKernel
    ? /^Version: (?<version>\S+)$/m
    : /^Depends: (?:.*, )?(?<image>linux-image-\S+) \(= (?<version>[^)\s]+)\)/m;
  const { image = name, version } = pattern.exec(shown)?.groups ?? {};
  if (version === undefined) {
    throw new KernelError(
      `kernel '${pull.name}': the package archives of this host have no package ${name} of Debian, or cannot be reached`,
    );
  }
  return { image, version };
}

/** Unpacks the package. Returns the folder with the result. */
async function unpack(pull: Pull, image: string): Promise<string> {
  const { name, folder } = pull;
  const archive = (await readdir(folder)).find((file) => file.endsWith('.deb'));
  if (archive === undefined) throw new KernelError(`kernel '${name}': apt-get has downloaded no package ${image}`);
  const tree = join(folder, 'tree');
  await run(pull, 'dpkg-deb', ['-x', archive, tree]);
  const result = join(folder, 'result');
  await mkdir(result);
  const { kernel, modules, config } = PACKAGES[name].hasKernel
    ? filesOfUml(tree)
    : filesOf(tree, image.slice('linux-image-'.length));
  await prepareKernel(kernel, await readModulesFolder(modules), result);
  const written = await readFile(config);
  await writeFile(join(result, 'config'), config.endsWith('.gz') ? await promisify(gunzip)(written) : written);
  return result;
}

/** Paths in an unpacked package. */
interface PackagedKernel {
  kernel: string;
  modules: string;
  config: string;
}

function filesOf(tree: string, release: string): PackagedKernel {
  return {
    kernel: join(tree, 'boot', `vmlinuz-${release}`),
    modules: join(tree, 'lib/modules', release),
    config: join(tree, 'boot', `config-${release}`),
  };
}

/** Its modules are of one release, which its version does not say. */
function filesOfUml(tree: string): PackagedKernel {
  const kernel = join(tree, 'usr/bin/linux.uml');
  return {
    kernel,
    modules: join(tree, 'usr/lib/uml/modules', kernelRelease(kernel).release),
    config: join(tree, 'usr/share/doc/user-mode-linux/config.gz'),
  };
}

/** Runs a program in the work folder. @returns its output */
async function run(
  { name, folder, apt }: Pull,
  program: string,
  args: string[],
  { reject = true } = {},
): Promise<string> {
  const options = program.startsWith('apt') ? apt : [];
  const env = { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  try {
    return (await execa(program, [...options, ...args], { cwd: folder, env, stdin: 'ignore', reject })).stdout;
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    const lines = String(error.stderr).split('\n');
    const line = lines.find((each) => each.startsWith('E: ')) ?? lines.find((each) => each !== '');
    throw new KernelError(`kernel '${name}': ${line?.replace(/^E: /, '') ?? error.shortMessage}`, { cause: error });
  }
}
