// Fetches a distribution's kernel as a package, and unpacks it into the cache: nothing is installed.
// apt checks the package by the keys of the host: apt-secure(8).
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { ExecaError, execa } from 'execa';
import { codeOf, messageOf } from '../errors/index.js';
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
  /** Has apt's lists and cache, the package, and what it contains. */
  folder: string;
  /** apt's options. */
  apt: readonly string[];
}

/** Fetches a kernel. See `pullKernel` of index.ts. */
export async function pull(name: PulledName, { cache: folder, onProgress }: PullOptions = {}): Promise<string> {
  const cache = resolve(folder ?? kernelCache());
  let work: string | undefined;
  try {
    checkPrograms();
    work = makeWorkFolder(cache);
    const running = { folder: work, apt: await aptOptions(work) };
    onProgress?.('lists');
    const complaint = await updateLists(running);
    const { image, version } = await newestPackage(running, name, complaint);
    const directory = join(cache, directoryName(name, version, modulesRecipe(PACKAGES[name].transport)));
    if (PULLED_FILES.every((file) => existsSync(join(directory, file)))) return directory;
    onProgress?.('download');
    await run(running, 'apt-get', ['download', `${image}=${version}`]);
    onProgress?.('unpack');
    placeFiles(await unpack(running, name, image), directory, PULLED_FILES);
    return directory;
  } catch (cause) {
    // Of this room, or of the file system: a full disk.
    if (!(cause instanceof KernelError) && codeOf(cause) === undefined) throw cause;
    throw new KernelError(`kernel '${name}': ${messageOf(cause)}`, { cause });
  } finally {
    if (work !== undefined) await rm(work, { recursive: true, force: true });
  }
}

function checkPrograms(): void {
  for (const program of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    if (findProgram(program) !== undefined) continue;
    throw new KernelError(
      `it is a package of Debian, and this host has no ${program}: run: tsvm kernel build, or name another with --kernel and --kernel-modules`,
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
    // What apt cannot check is not a kernel, whatever the host's configuration says. A source that is
    // marked `trusted=yes` is the administrator's word.
    'Acquire::AllowInsecureRepositories=false',
    'APT::Get::AllowUnauthenticated=false',
    // apt's own user cannot enter the work folder.
    ...(process.getuid?.() === 0 ? ['APT::Sandbox::User=root'] : []),
  ];
  return options.flatMap((option) => ['-o', option]);
}

/** Fetches the lists of packages. @returns apt's complaint, if it has one: it may concern another archive */
async function updateLists(pull: Pull): Promise<string | undefined> {
  try {
    return complaintIn(await run(pull, 'apt-get', ['update'], 'stderr'));
  } catch (error) {
    if (error instanceof KernelError) return error.message;
    throw error;
  }
}

/**
 * The newest package that the host's archives have, also as the package that depends on it says.
 * @param complaint what is said if there is none
 */
async function newestPackage(
  pull: Pull,
  name: PulledName,
  complaint: string | undefined,
): Promise<{ image: string; version: string }> {
  const { name: wanted, hasKernel } = PACKAGES[name];
  const none = `the package archives of this host have no package ${wanted} of Debian`;
  let shown: string;
  try {
    shown = await run(pull, 'apt-cache', ['show', '--no-all-versions', wanted]);
  } catch (cause) {
    // apt fails for a package that it does not know.
    if (cause instanceof KernelError) throw new KernelError(complaint ?? none, { cause });
    throw cause;
  }
  const pattern = hasKernel
    ? /^Version: (?<version>[\w.+~:-]+)$/m
    : /^Depends: (?:.*, )?(?<image>linux-image-[a-z0-9.+-]+) \(= (?<version>[\w.+~:-]+)\)/m;
  const { image = wanted, version } = pattern.exec(shown)?.groups ?? {};
  if (version === undefined) throw new KernelError(none);
  return { image, version };
}

/** Unpacks the package. Returns the folder with the result. */
async function unpack(pull: Pull, name: PulledName, image: string): Promise<string> {
  const { folder } = pull;
  const archive = (await readdir(folder)).find((file) => file.endsWith('.deb'));
  if (archive === undefined) throw new KernelError(`apt-get has downloaded no package ${image}`);
  const tree = join(folder, 'tree');
  await run(pull, 'dpkg-deb', ['-x', archive, tree]);
  const result = join(folder, 'result');
  await mkdir(result);
  try {
    const { kernel, modules, config } = PACKAGES[name].hasKernel
      ? filesOfUml(tree)
      : filesOf(tree, image.slice('linux-image-'.length));
    await prepareKernel(kernel, await readModulesFolder(modules), result, PACKAGES[name].transport);
    const written = await readFile(config);
    await writeFile(join(result, 'config'), config.endsWith('.gz') ? await promisify(gunzip)(written) : written);
  } catch (cause) {
    if (!(cause instanceof KernelError)) throw cause;
    // The folder is gone when this is read.
    throw new KernelError(`the package ${image}: ${cause.message.replaceAll(tree, '')}`, { cause });
  }
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
    modules: join(tree, libraries(tree), 'modules', release),
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

/** Since Debian 13, packages have in /usr/lib what they had in /lib. */
function libraries(tree: string): string {
  return existsSync(join(tree, 'usr/lib/modules')) ? 'usr/lib' : 'lib';
}

/** Runs a program in the work folder. @returns its output */
async function run({ folder, apt }: Pull, program: string, args: string[], output: Output = 'stdout'): Promise<string> {
  const options = program.startsWith('apt') ? apt : [];
  const env = { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  try {
    return (await execa(program, [...options, ...args], { cwd: folder, env, stdin: 'ignore' }))[output];
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    throw new KernelError(complaintIn(String(error.stderr)) ?? error.shortMessage, { cause: error });
  }
}

type Output = 'stdout' | 'stderr';

/** The order in which lines of apt and dpkg say what went wrong. Other warnings concern configuration. */
const COMPLAINTS = [/no space left|free space/i, /^E: (?!Some index files failed)/, /^W: .*(fetch|GPG)/, /^(?!W: )/];

/** The line of a program's stderr that says what went wrong. */
function complaintIn(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const line = COMPLAINTS.map((pattern) => lines.find((each) => pattern.test(each))).find((each) => each !== undefined);
  return line?.replace(/^[EW]: /, '').trim();
}
