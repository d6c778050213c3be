// The mounts of a RUN. Files of the context, of stages and of images are layers below those of the
// machine, secrets a file system in its memory, caches volumes, SSH agents sockets in its memory.
// None of it reaches the RUN's layer.
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BuildSteps,
  END_MARK,
  entryHeader,
  filePadding,
  type Inode,
  resolvePath,
  type TarEntry,
  type Timestamp,
} from '../../images/build.js';
import type { Sandbox, SandboxOptions } from '../../sandbox/index.js';
import { BuildError } from '../build-error.js';
import { IgnoreRules } from '../context/ignore.js';
import type { Mount } from '../dockerfile/mount.js';
import { MAX_AGENTS, MAX_SECRET_BYTES } from '../limits.js';
import { noAgent, type SshAgents } from '../ssh/agents.js';
import { relay } from '../ssh/relay.js';
import { copyEntries, EMPTY } from './copy.js';
import { stepKey } from './key.js';
import type { CopyEntry } from './layer-entries.js';
import { layerTar } from './layer-tar.js';
import type { CopySource } from './source.js';

/** The folder in the machine's root that has the mounts' files. The command finds it empty. */
export const HIDDEN = '.tsvm-build';
const SECRETS = `/${HIDDEN}/secrets`;
/** Bytes. Each secret is at most `MAX_SECRET_BYTES`. */
const SECRETS_SIZE = 64 << 20;
const SOCKETS = `/${HIDDEN}/ssh`;
/** Bytes. Sockets have none. */
const SOCKETS_SIZE = 64 << 10;
/** Names of volumes with the files of cache mounts begin so. */
export const CACHE_VOLUME = 'tsvm-build-cache-';
/** Milliseconds between two looks at a cache that another RUN has locked. */
const LOCK_WAIT = 100;

export type Secrets = ReadonlyMap<string, Buffer>;

type Of<Type extends Mount['type']> = Extract<Mount, { type: Type }>;
type Bind = Of<'bind'> & { files: CopySource };
/** `files`: what it begins with. */
type Cache = Of<'cache'> & { files?: CopySource };
type Secret = Of<'secret'> & { contents: Buffer };
/** `agent`: path of its socket on the host. */
type Ssh = Of<'ssh'> & { target: string; agent: string };

/** What to do with the mounts of one RUN. Targets are absolute. */
export interface RunMounts {
  binds: Bind[];
  caches: Cache[];
  tmpfs: Of<'tmpfs'>[];
  secrets: Secret[];
  ssh: Ssh[];
}

/**
 * @param absolute makes a target absolute
 * @param open where a bind mount has its files from
 * @throws BuildError
 */
export async function resolveMounts(
  mounts: readonly Mount[],
  { secrets, agents }: { secrets: Secrets; agents: SshAgents },
  { absolute, open }: { absolute(path: string): string; open(from: string | undefined): Promise<CopySource> },
): Promise<RunMounts> {
  const resolved: RunMounts = { binds: [], caches: [], tmpfs: [], secrets: [], ssh: [] };
  let sockets = 0;
  for (const mount of mounts) {
    const target = mount.target === undefined ? undefined : absolute(mount.target);
    if (target === '/') throw new BuildError('bad-dockerfile', `invalid mount target "${mount.target}"`);
    if (mount.type === 'secret') {
      const contents = secrets.get(mount.id);
      if (contents !== undefined) resolved.secrets.push({ ...mount, target, contents });
      else if (mount.required) throw new BuildError('bad-option', `secret ${mount.id}: not found: give it by --secret`);
      continue;
    }
    if (mount.type === 'ssh') {
      const agent = agents.socketOf(mount.id);
      const chosen = `/run/buildkit/ssh_agent.${sockets++}`;
      if (sockets > MAX_AGENTS) throw new BuildError('too-large', `a RUN mounts at most ${MAX_AGENTS} SSH agents`);
      if (agent !== undefined) resolved.ssh.push({ ...mount, target: target ?? chosen, agent });
      else if (mount.required) throw noAgent(mount.id);
      continue;
    }
    const placed = { ...mount, target: target! };
    if (placed.type === 'bind') resolved.binds.push({ ...placed, files: await open(placed.from) });
    else if (placed.type === 'cache') {
      const files = placed.from === undefined ? undefined : await open(placed.from);
      resolved.caches.push({ ...placed, ...(files && { files }) });
    } else resolved.tmpfs.push(placed);
  }
  return resolved;
}

/**
 * For the key of the RUN: no secret is in it, and of agents what the Dockerfile says alone.
 * @param declared the mounts as the Dockerfile has them
 */
export async function mountsKey(
  { binds, caches, tmpfs, secrets }: RunMounts,
  declared: readonly Mount[],
): Promise<unknown> {
  const bound: unknown[] = [];
  for (const { files, ...bind } of binds) bound.push([bind, await sourceHash(files, bind.source)]);
  const kept: unknown[] = [];
  for (const { files, ...cache } of caches) {
    kept.push(files === undefined ? cache : [cache, await sourceHash(files, cache.source)]);
  }
  const known = [bound, kept, tmpfs, secrets.map(({ contents, ...secret }) => secret)];
  const ssh = declared.filter(({ type }) => type === 'ssh');
  // Keys of RUNs without such a mount are those of earlier releases.
  return ssh.length === 0 ? known : [...known, ssh];
}

function sourceHash(files: CopySource, source = ''): Promise<string> {
  return files.hash([bytes(source)], false, new IgnoreRules());
}

/** The layers with the files of bind mounts, and those that caches begin with. They are kept in the cache. */
export async function mountLayers({ binds, caches }: RunMounts, cache: BuildSteps, now: Timestamp): Promise<string[]> {
  const layers: string[] = [];
  const placed = [
    ...binds.map(({ files, source }, index) => ({ kind: 'bind', index, files, source, at: bindPath(index) })),
    ...caches.map(({ files, source = '' }, index) => ({ kind: 'cache', index, files, source, at: cachePath(index) })),
  ];
  for (const { kind, index, files, source, at } of placed) {
    if (files === undefined) continue;
    if (kind === 'cache') checkFolder(files.root, source);
    const key = stepKey(kind, index, await sourceHash(files, source), source);
    const created = new Date(now.seconds * 1000).toISOString();
    const found = await cache.find(key);
    const tar = () => layerTar(mountEntries(files.root, source, at, now), (inode) => files.read(inode));
    const layer = found === undefined ? await cache.add(key, tar(), created) : found.layer;
    if (layer !== null) layers.push(layer);
  }
  return layers;
}

function bindPath(index: number): string {
  return `/${HIDDEN}/binds/${index}`;
}

/** Where the volume of a cache is that begins with files: the store fills it with what the image has there. */
function cachePath(index: number): string {
  return `/${HIDDEN}/caches/${index}`;
}

/** @throws BuildError */
function checkFolder(root: Inode, source: string): void {
  const found = resolvePath(root, bytes(source))?.inode;
  if (!found || found.kind === 'directory') return;
  throw new BuildError('bad-dockerfile', `a cache begins with the files of a folder, and "${source}" is none`);
}

function mountEntries(root: Inode, source: string, destination: string, now: Timestamp): CopyEntry[] {
  const how = { owner: undefined, mode: undefined, now, parents: false, excludes: new IgnoreRules() };
  const entries = copyEntries(root, EMPTY, { ...how, sources: [bytes(source)], destination });
  const own = resolvePath(root, bytes(source))?.inode;
  // A copy of a directory's contents makes the directory anew.
  return entries.map((entry) =>
    own?.kind === 'directory' && `/${entry.path}` === destination
      ? { ...entry, mode: own.mode, uid: own.uid, gid: own.gid, mtime: own.mtime }
      : entry,
  );
}

/** The volumes of cache mounts, locked as their mounts say until it is disposed of. */
export class Caches implements Disposable {
  /** By their names. */
  readonly #locks = new Map<string, Disposable>();
  readonly #names = new Map<Cache, string>();
  readonly #caches: readonly Cache[];

  private constructor(caches: readonly Cache[]) {
    this.#caches = caches;
  }

  /** @throws the reason of `signal` */
  static async open({ caches }: RunMounts, steps: BuildSteps, signal: AbortSignal): Promise<Caches> {
    const opened = new Caches(caches);
    try {
      // All RUNs lock in the same order, so none waits for one that waits for it.
      const sorted: { cache: Cache; name: string }[] = [];
      for (const cache of caches) sorted.push({ cache, name: await volumeName(cache) });
      for (const { cache, name } of sorted.sort((a, b) => (a.name < b.name ? -1 : 1))) {
        opened.#names.set(cache, await opened.#lock(cache, name, steps, signal));
      }
      return opened;
    } catch (error) {
      opened[Symbol.dispose]();
      throw error;
    }
  }

  async #lock({ sharing }: Of<'cache'>, name: string, steps: BuildSteps, signal: AbortSignal): Promise<string> {
    if (sharing === 'shared') return name;
    for (let number = 0; ; number++) {
      const own = sharing === 'private' ? `${name}-${number}` : name;
      // Two mounts of one RUN may have one cache.
      if (sharing === 'locked' && this.#locks.has(own)) return own;
      const lock = steps.lock(own);
      if (lock !== undefined) {
        this.#locks.set(own, lock);
        return own;
      }
      if (sharing === 'locked') await sleep(LOCK_WAIT, undefined, { signal });
      signal.throwIfAborted();
    }
  }

  get mounts(): NonNullable<SandboxOptions['mounts']> {
    return this.#caches.map((cache, index) => {
      const { target, readOnly, files } = cache;
      const begins = files !== undefined;
      const place = begins ? cachePath(index) : target;
      return { type: 'volume', source: this.#names.get(cache)!, target: place, readOnly, noCopy: !begins };
    });
  }

  [Symbol.dispose](): void {
    for (const lock of this.#locks.values()) lock[Symbol.dispose]();
  }
}

/** One that begins with other files is another one, as BuildKit's. */
async function volumeName({ id, files, source }: Cache): Promise<string> {
  const begun = files === undefined ? '' : `\0${await sourceHash(files, source)}`;
  return CACHE_VOLUME + createHash('sha256').update(`${id}${begun}`).digest('hex').slice(0, 32);
}

/** The file systems in memory that the machine begins with. */
export function memoryMounts({ tmpfs, secrets, ssh }: RunMounts): NonNullable<SandboxOptions['tmpfs']> {
  const own: NonNullable<SandboxOptions['tmpfs']>[number][] = tmpfs.map(({ target, size }) => ({
    ...{ path: target, exec: true },
    ...(size !== undefined && { size }),
  }));
  if (secrets.some(({ target }) => target !== undefined)) own.push({ path: SECRETS, size: SECRETS_SIZE, mode: 0o700 });
  if (ssh.length > 0) own.push({ path: SOCKETS, size: SOCKETS_SIZE, mode: 0o700 });
  return own;
}

/** Puts the mounts' files where the command finds them. */
export async function enterMounts(
  sandbox: Sandbox,
  { binds, caches, secrets, ssh }: RunMounts,
  signal: AbortSignal,
): Promise<void> {
  const { files } = sandbox;
  const begun = caches.flatMap(({ files, target, readOnly }, index) =>
    files === undefined ? [] : [{ at: cachePath(index), target, readOnly }],
  );
  for (const { target, mode, uid, gid, readOnly, files: beginning } of caches) {
    if (readOnly || beginning !== undefined) continue;
    const entry = { ...NOTHING, type: 'directory' as const, path: `${bytes(target).slice(1)}/`, mode, uid, gid };
    await files.extract('/', Readable.from([entryHeader(entry), END_MARK]), { owners: true });
  }
  const shown = secrets.filter(({ target }) => target !== undefined);
  if (shown.length > 0) await files.extract(SECRETS, Readable.from(secretsTar(shown)), { owners: true });
  for (const [index, { target }] of shown.entries()) {
    await files.mount(`${SECRETS}/${index}`, target!, { readOnly: true });
  }
  for (const [index, { target, agent, mode, uid, gid }] of ssh.entries()) {
    const path = `${SOCKETS}/${index}`;
    // The sandbox ends it.
    await sandbox.listen({ path, mode, uid, gid }, (client) => void relay(client, agent), signal);
    await files.mount(path, target);
  }
  const bound = binds.map(({ target, readOnly }, index) => ({ at: bindPath(index), target, readOnly }));
  for (const { at, target, readOnly } of [...bound, ...begun]) await files.mount(at, target, { readOnly });
  if (shown.length + ssh.length + bound.length + begun.length > 0) await files.mount(null, `/${HIDDEN}`);
}

const NOTHING: Omit<TarEntry, 'type' | 'path' | 'mode' | 'uid' | 'gid'> = {
  ...{ linkname: '', size: 0, mtime: { seconds: 0, nanoseconds: 0 }, devMajor: 0, devMinor: 0, xattrs: null },
};

function secretsTar(secrets: readonly Secret[]): Buffer[] {
  const parts = secrets.flatMap(({ contents, mode, uid, gid }, index) => [
    entryHeader({ ...NOTHING, type: 'file', path: `${index}`, size: contents.length, mode, uid, gid }),
    contents,
    filePadding(contents.length),
  ]);
  return [...parts.filter((part) => part.length > 0), END_MARK];
}

/** The variable that names the first agent's socket. */
export function agentVariable({ ssh: [first] }: RunMounts): Record<string, string> {
  return first === undefined ? {} : { SSH_AUTH_SOCK: first.target };
}

/** Secrets as variables. */
export function secretVariables({ secrets }: RunMounts): Record<string, string> {
  return Object.fromEntries(secrets.flatMap(({ env, contents }) => (env === undefined ? [] : [[env, `${contents}`]])));
}

/** The places of mounts in the root, and the directories above them: they may be made for the mount alone. */
export function mountPlaces(mounts: RunMounts, root: Inode): Set<string> {
  const places = new Set<string>();
  for (const { target } of Object.values(mounts).flat() as { target: string | undefined }[]) {
    const names = target === undefined ? [] : (resolvePath(root, bytes(target))?.names ?? []);
    for (let count = 1; count <= names.length; count++) places.add(names.slice(0, count).join('/'));
  }
  return places;
}

/** @throws BuildError `too-large` */
export function checkSecrets(secrets: Secrets): void {
  for (const [id, { length }] of secrets) {
    if (length > MAX_SECRET_BYTES)
      throw new BuildError('too-large', `secret ${id}: more than ${MAX_SECRET_BYTES} bytes`);
  }
}

function bytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
