// Paths of a container on the host, before its machine runs. The image is hostile: a link leads to where
// it leads in the container, never outside of it, so a path is walked one name at a time.
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readlinkSync, type Stats } from 'node:fs';
import { codeOf, hasCode } from '../../errors/index.js';
import { O_PATH } from '../../libc/openat2.js';
import type { Translation } from '../config/translate.js';

/** The kernel's limits of a path. */
const MAX_LINKS = 40;
const MAX_PATH = 4096;
/** Names of all walks together. PATH and the links are the image's, and must not keep the engine waiting. */
const MAX_STEPS = 20_000;

/** Where the agent mounts file systems of the guest's kernel. */
const GUEST = ['/proc', '/dev', '/sys'];

/** What is at a path of the container. */
export type Found =
  | { kind: 'file'; status: Stats }
  /** `code`: why, as `ENOENT` */
  | { kind: 'absent'; code: string }
  /** It is in a file system of the guest, takes too long to find, or lies behind a link that is not UTF-8. */
  | { kind: 'unknown' };

/** A file on the way of a path. */
interface Step {
  name: string;
  /** Undefined: in a file system of the guest. */
  fd: number | undefined;
  /** The walk opened it, and closes it. */
  isOpened: boolean;
}

/** Where a walk has come to, and what was left of its path if it came no further. */
interface Walk {
  steps: Step[];
  rest: string[];
  links: number;
}

export class ContainerRoot {
  readonly #root: Step;
  /** Descriptors of what is mounted, by paths without links; undefined: a file system of the guest. */
  readonly #mounts = new Map<string, number | undefined>();
  #steps = 0;

  /** @param opened descriptors (O_PATH) of the translation's shares, which stay the caller's */
  constructor({ container }: Pick<Translation, 'container'>, opened: readonly number[]) {
    this.#root = { name: '', fd: opened[0], isOpened: false };
    for (const path of GUEST) this.#mount(path, undefined);
    const mounts = [
      ...(container.tmpfs ?? []).map(({ path }) => ({ path, fd: undefined })),
      ...(container.shares ?? []).map(({ path, index }) => ({ path, fd: opened[index] })),
    ];
    // The agent's order: shorter paths first.
    mounts.sort((a, b) => namesOf(a.path).length - namesOf(b.path).length);
    for (const { path, fd } of mounts) this.#mount(path, fd);
  }

  /** @param path absolute, or relative to `cwd`, which is absolute */
  look(path: string, cwd: string): Found {
    if (path.length >= MAX_PATH) return { kind: 'absent', code: 'ENAMETOOLONG' };
    if (path.startsWith('/')) return this.#walk(path).found;
    // The agent makes a working directory that is missing.
    if (this.#walk(cwd).found.kind === 'absent') return { kind: 'unknown' };
    return this.#walk(`${cwd}/${path}`).found;
  }

  #mount(path: string, fd: number | undefined): void {
    const { place } = this.#walk(path);
    for (const other of this.#mounts.keys()) if (other.startsWith(`${place}/`)) this.#mounts.delete(other);
    this.#mounts.set(place, fd);
  }

  /** `place` is the path without links. The agent makes what is missing of a mount point. */
  #walk(path: string): { found: Found; place: string } {
    const walk: Walk = { steps: [this.#root], rest: namesOf(path), links: 0 };
    const place = () => `/${[...walk.steps.slice(1).map(({ name }) => name), ...walk.rest].join('/')}`;
    try {
      for (let name = walk.rest[0]; name !== undefined; name = walk.rest[0]) {
        if (++this.#steps > MAX_STEPS) return { found: { kind: 'unknown' }, place: place() };
        if (name === '..') leave(walk);
        else this.#enter(walk, name);
      }
      const { fd } = here(walk);
      return {
        found: fd === undefined ? { kind: 'unknown' } : { kind: 'file', status: fstatSync(fd) },
        place: place(),
      };
    } catch (error) {
      if (error instanceof NoText) return { found: { kind: 'unknown' }, place: place() };
      const code = error instanceof TooManyLinks ? 'ELOOP' : codeOf(error);
      if (code === undefined) throw error;
      return { found: { kind: 'absent', code }, place: place() };
    } finally {
      while (walk.steps.length > 1) pop(walk);
    }
  }

  #enter(walk: Walk, name: string): void {
    const parent = here(walk);
    const step = this.#open(walk, parent, name);
    walk.steps.push(step);
    walk.rest.shift();
    if (step.fd === undefined || !fstatSync(step.fd).isSymbolicLink()) return;
    pop(walk);
    walk.rest.unshift(name);
    walk.links++;
    if (walk.links > MAX_LINKS) throw new TooManyLinks();
    const bytes = readlinkSync(`/proc/self/fd/${parent.fd}/${name}`, 'buffer');
    if (!isUtf8(bytes)) throw new NoText();
    const target = bytes.toString();
    walk.rest.splice(0, 1, ...namesOf(target));
    while (target.startsWith('/') && walk.steps.length > 1) pop(walk);
  }

  #open({ steps }: Walk, parent: Step, name: string): Step {
    const path = `/${[...steps.slice(1).map((step) => step.name), name].join('/')}`;
    if (this.#mounts.has(path)) return { name, fd: this.#mounts.get(path), isOpened: false };
    if (parent.fd === undefined) return { name, fd: undefined, isOpened: false };
    try {
      const fd = openSync(`/proc/self/fd/${parent.fd}/${name}`, O_PATH | constants.O_NOFOLLOW);
      return { name, fd, isOpened: true };
    } catch (error) {
      const isMade = [...this.#mounts.keys()].some((mount) => mount.startsWith(`${path}/`));
      if (isMade && hasCode(error, 'ENOENT')) return { name, fd: undefined, isOpened: false };
      throw error;
    }
  }
}

class TooManyLinks extends Error {}

/** A link whose target is not UTF-8. */
class NoText extends Error {}

/** The names of a path, without those that lead nowhere. */
function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function here({ steps }: Walk): Step {
  const step = steps.at(-1);
  if (step === undefined) throw new RangeError('a walk has left its root');
  return step;
}

/** Takes the last step back. The root stays. */
function pop({ steps }: Walk): void {
  const step = steps.length > 1 ? steps.pop() : undefined;
  if (step?.isOpened && step.fd !== undefined) closeSync(step.fd);
}

function leave(walk: Walk): void {
  walk.rest.shift();
  pop(walk);
}
