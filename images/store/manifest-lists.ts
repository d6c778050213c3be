// The lists of manifests of a home: made here of images in registries, or by a build of several
// platforms, and pushed as an image index.

import { join } from 'node:path';
import { ImageError, toImageError } from '../errors.js';
import { MAX_INSPECTED_BYTES, MAX_JSON_BYTES } from '../limits.js';
import { isPlatformWord } from '../platform.js';
import { familiarReference, fullReference, type NameReference, parseName } from '../reference.js';
import { Registry, type RegistryOptions } from '../registry/registry.js';
import { parseConfig } from '../source/config.js';
import { type Json, parseJson } from '../source/json.js';
import {
  changedPlatform,
  indexOf,
  type ListedManifest,
  type ListedPlatform,
  type PlatformChange,
  parseListedPlatform,
  parseMembers,
} from '../source/listed.js';
import { CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES, parseDescriptor, parseManifest } from '../source/manifest.js';
import type { PushOptions } from '../types.js';
import { STORE } from './layout.js';
import {
  builtMembers,
  changeMembers,
  findMembers,
  type ListMember,
  listNames,
  readMembers,
  removeList,
  unknownList,
  withMembers,
} from './list-record.js';
import { plainManifest } from './plain-manifest.js';
import { pushError } from './push-image.js';
import { type PushedList, pushMembers } from './push-list.js';
import { readConfig, sha256 } from './record.js';

/** A manifest, and where it is. */
export interface FoundManifest {
  /** `DOMAIN/PATH[:TAG][@DIGEST]`. */
  name: string;
  manifest: ListedManifest;
  /** As it is in the registry. */
  bytes: Buffer;
}

export interface AddOptions {
  /** The list may be there already. */
  amend?: boolean;
  /** A member that is a list itself stands for its members. */
  all?: boolean;
}

/** Every method fails with an `ImageError`. */
export interface ManifestLists {
  /**
   * Makes a list of images in registries, or adds them to one.
   *
   * @param name `NAME[:TAG]`
   * @param members names, each with a tag or a digest
   * @returns the name in full
   */
  create(name: string, members: readonly string[], options?: AddOptions): Promise<string>;
  /** Changes what a list says of a member's platform. @param member its name, or its digest */
  annotate(name: string, member: string, change: PlatformChange): Promise<void>;
  /** The manifest or index of a name: of a list of this home, or else of a registry. */
  read(name: string): Promise<Json>;
  /** The manifest of a member of a list. @param member its name, or its digest */
  readMember(name: string, member: string): Promise<FoundManifest>;
  /** All manifests of a name, and whether it names a list. */
  readAll(name: string): Promise<{ isList: boolean; manifests: FoundManifest[] }>;
  /** Pushes a list. @param to another name to push it to */
  push(name: string, options?: PushOptions & { to?: string }): Promise<PushedList & { name: string }>;
  remove(name: string): Promise<void>;
  /**
   * True if a build of several platforms gave its list this name, and the name has no other image
   * since.
   */
  isBuilt(name: string): boolean;
  /** The names of all lists. */
  names(): string[];
}

/** @param place path of the $TSVM_HOME */
export function manifestLists(place: string, registryOptions?: RegistryOptions): ManifestLists {
  const home = join(place, STORE);
  const open = () => new Registry(registryOptions);
  return {
    async create(text, members, { amend = false, all = false } = {}) {
      const name = parseListName(text);
      try {
        using registry = open();
        if (!amend && readMembers(home, name) !== null) throw refusedAmend();
        const added: ListMember[] = [];
        for (const member of members) added.push(...(await findRemote(registry, member, all)).members);
        await changeMembers(home, name, (before) => {
          if (!amend && before !== null) throw refusedAmend();
          return withMembers(before ?? [], added);
        });
        return fullReference(name);
      } catch (error) {
        throw toImageError(error, `cannot create the manifest list ${text}`);
      }
    },
    async annotate(text, memberText, change) {
      const name = parseListName(text);
      for (const word of [change.os, change.architecture, change.variant]) {
        if (word === undefined || isPlatformWord(word)) continue;
        throw new ImageError('bad-reference', `invalid part of a platform: ${word}`);
      }
      try {
        await changeMembers(home, name, (members) => {
          if (members === null) throw unknownList(name);
          const member = memberOf(members, name, memberText);
          const platform = changedPlatform(member.manifest.platform, change);
          return members.map((each) =>
            each === member ? { ...each, manifest: { ...each.manifest, platform } } : each,
          );
        });
      } catch (error) {
        throw toImageError(error, `cannot annotate ${memberText}`);
      }
    },
    async read(text) {
      const name = parseRemoteName(text);
      try {
        const members = readMembers(home, name);
        if (members !== null) return parseManifest(indexOf(members.map(({ manifest }) => manifest)).bytes, 'the list');
        using registry = open();
        return parseManifest((await registry.manifest(name)).bytes, 'the manifest');
      } catch (error) {
        throw inspectError(error, name);
      }
    },
    async readMember(text, memberText) {
      const name = parseListName(text);
      try {
        const member = memberOf(findMembers(home, name), name, memberText);
        using registry = open();
        return await readFound(home, registry, member);
      } catch (error) {
        throw inspectError(error, name);
      }
    },
    async readAll(text) {
      const name = parseRemoteName(text);
      try {
        using registry = open();
        const own = readMembers(home, name);
        const { isList, members } =
          own === null ? await findRemote(registry, text, true) : { isList: true, members: own };
        const manifests: FoundManifest[] = [];
        let left = MAX_INSPECTED_BYTES;
        for (const member of members) {
          const found = await readFound(home, registry, member);
          left -= found.bytes.length;
          if (left < 0) throw new ImageError('too-large', `the manifests have more than ${MAX_INSPECTED_BYTES} bytes`);
          manifests.push(found);
        }
        return { isList, manifests };
      } catch (error) {
        throw inspectError(error, name);
      }
    },
    async push(text, { to, compression = 'gzip', onProgress, signal } = {}) {
      const name = parseListName(text);
      const target = to === undefined ? name : parseListName(to);
      const stop = new AbortController();
      const abort = () => stop.abort(signal?.reason);
      try {
        signal?.throwIfAborted();
        signal?.addEventListener('abort', abort);
        const members = findMembers(home, name);
        if (members.length === 0) throw new ImageError('not-an-image', 'the list has no manifests');
        using registry = open();
        const pushed = await pushMembers(members, { home, registry, name: target, compression, onProgress, stop });
        return { ...pushed, name: fullReference(target) };
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof ImageError && error.code === 'unknown-image') throw error;
        throw pushError(error, familiarReference(target));
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    },
    async remove(text) {
      try {
        await removeList(home, parseListName(text));
      } catch (error) {
        throw toImageError(error, `cannot remove ${text}`);
      }
    },
    isBuilt: (text) => builtMembers(home, parseName(text)).length > 0,
    names: () => listNames(home),
  };
}

/** The name of a list has a tag. @throws ImageError `bad-reference` */
function parseListName(text: string): NameReference {
  const name = parseName(text);
  if (name.digest === null) return name;
  throw new ImageError('bad-reference', `a manifest list has a tag, not a digest: ${text}`);
}

/** As Docker: a digest is enough to find an image, so a tag beside it is dropped. */
function parseRemoteName(text: string): NameReference {
  const name = parseName(text);
  return name.digest === null ? name : { ...name, tag: null };
}

function refusedAmend(): ImageError {
  return new ImageError('in-use', 'refusing to amend an existing manifest list with no --amend flag');
}

/** @param text a name, or a digest */
function memberOf(members: readonly ListMember[], list: NameReference, text: string): ListMember {
  const digest = /^sha256:[0-9a-f]{64}$/.test(text) ? text : null;
  const name = digest === null ? parseRemoteName(text) : null;
  const wanted = name && fullReference(name);
  const found =
    members.find(({ name, manifest }) => name === wanted || manifest.digest === digest) ??
    members.find(({ repository, manifest }) => `${repository}@${manifest.digest}` === wanted);
  if (found !== undefined) return found;
  throw new ImageError('unknown-image', `manifest for image ${text} does not exist in ${familiarReference(list)}`);
}

/**
 * Finds an image in its registry.
 *
 * @param all takes the members of an index, which is refused otherwise
 */
async function findRemote(
  registry: Registry,
  text: string,
  all: boolean,
): Promise<{ isList: boolean; members: ListMember[] }> {
  const name = parseRemoteName(text);
  const { bytes, descriptor } = await registry.manifest(name);
  const { mediaType, digest, size } = descriptor;
  const json = parseManifest(bytes, 'the manifest');
  const repository = `${name.domain}/${name.path}`;
  if (INDEX_TYPES.includes(mediaType)) {
    if (!all) throw new ImageError('unsupported', `${text} is a manifest list: add its members with --all`);
    const members = parseMembers(json).map((manifest) => ({
      name: `${repository}@${manifest.digest}`,
      repository,
      manifest,
    }));
    return { isList: true, members };
  }
  if (!MANIFEST_TYPES.includes(mediaType)) {
    throw new ImageError('unsupported', `manifests of the type ${mediaType || "''"} are not supported`);
  }
  const platform = await readPlatform(registry, repository, json);
  const manifest = { mediaType, digest, size, ...(platform && { platform }) };
  return { isList: false, members: [{ name: fullReference(name), repository, manifest }] };
}

/** Reads from an image's config what it runs on. Returns null if it is not a container image. */
async function readPlatform(registry: Registry, repository: string, manifest: Json): Promise<ListedPlatform | null> {
  const config = parseDescriptor(manifest.config);
  if (!CONFIG_TYPES.includes(config.mediaType)) return null;
  if (config.size > MAX_JSON_BYTES) {
    throw new ImageError('too-large', `the image config has ${config.size} bytes; the limit is ${MAX_JSON_BYTES}`);
  }
  const chunks: Buffer[] = [];
  for await (const chunk of registry.blob(repository, config, undefined, 'the image config')) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  if (sha256(bytes) !== config.digest) {
    throw new ImageError('corrupt', `the image config does not match its digest, ${config.digest}`);
  }
  return parseListedPlatform(parseJson(bytes, 'the image config'));
}

async function readFound(
  home: string,
  registry: Registry,
  { name, repository, manifest, image }: ListMember,
): Promise<FoundManifest> {
  if (image !== undefined) {
    const config = readConfig(home, image);
    return { name, manifest, bytes: plainManifest(home, config, parseConfig(config).diffIds).bytes };
  }
  const { bytes } = await registry.manifest(parseName(`${repository}@${manifest.digest}`));
  return { name, manifest, bytes };
}

/** Worded as Docker does. */
function inspectError(error: unknown, name: NameReference): ImageError {
  const shown = familiarReference(name);
  const isMissing =
    error instanceof ImageError && error.code === 'unknown-image' && /^No such image/.test(error.message);
  if (isMissing) return new ImageError('unknown-image', `no such manifest: ${fullReference(name)}`, { cause: error });
  return toImageError(error, `cannot inspect ${shown}`);
}
