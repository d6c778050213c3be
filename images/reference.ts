// References to images: Docker's grammar for names (distribution/reference, reference.go), and the
// transports of containers-transports(5) for images in files.

import { ImageError } from './errors.js';

/**
 * A name in the store or a registry. `path` of `debian` is `library/debian`, its `domain`
 * `docker.io`.
 */
export interface NameReference {
  kind: 'name';
  domain: string;
  path: string;
  /** `latest` if neither tag nor digest was given; null if only a digest was. */
  tag: string | null;
  /** `sha256:<hex>`, or null. */
  digest: string | null;
}

/** A full image ID: `sha256:<hex>`. */
export interface IdReference {
  kind: 'id';
  digest: string;
}

/** An image in a directory or a file. */
export interface FileReference {
  kind: 'oci' | 'oci-archive' | 'docker-archive';
  path: string;
  /** Which image of several, or null. */
  tag: string | null;
}

export type Reference = NameReference | IdReference | FileReference;

const DEFAULT_DOMAIN = 'docker.io';
const MAX_NAME_LENGTH = 255;

const FILE = /^(oci|oci-archive|docker-archive):(.*)$/s;
const ID = /^(?:sha256:)?([0-9a-f]{64})$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const DOMAIN =
  /^(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;

/**
 * Reads a reference.
 *
 * @throws ImageError `bad-reference`
 */
export function parseReference(text: string): Reference {
  const [, transport, rest] = FILE.exec(text) ?? [];
  if (rest !== undefined) return parseFileReference(transport as FileReference['kind'], rest);
  const id = ID.exec(text);
  if (id) return { kind: 'id', digest: `sha256:${id[1]}` };
  return parseName(text);
}

function parseFileReference(kind: FileReference['kind'], rest: string): FileReference {
  const colon = rest.indexOf(':');
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const tag = colon === -1 ? null : rest.slice(colon + 1);
  if (path === '' || tag === '' || rest.includes('\0')) {
    throw new ImageError('bad-reference', `invalid reference format: ${kind}: wants a path, and a tag behind a colon`);
  }
  return { kind, path, tag };
}

/**
 * Reads `[DOMAIN/]PATH[:TAG][@DIGEST]` as Docker does.
 *
 * @throws ImageError `bad-reference`, with Docker's message
 */
export function parseName(text: string): NameReference {
  const at = text.indexOf('@');
  const digest = at === -1 ? null : text.slice(at + 1);
  if (digest !== null && !DIGEST.test(digest)) throw bad();
  const beforeDigest = at === -1 ? text : text.slice(0, at);
  const colon = beforeDigest.lastIndexOf(':');
  const tagged = colon > beforeDigest.lastIndexOf('/');
  const tag = tagged ? beforeDigest.slice(colon + 1) : null;
  if (tag !== null && !TAG.test(tag)) throw bad();
  const name = tagged ? beforeDigest.slice(0, colon) : beforeDigest;
  if (/^[0-9a-f]{64}$/.test(name)) {
    throw new ImageError(
      'bad-reference',
      `invalid repository name (${name}), cannot specify 64-byte hexadecimal strings`,
    );
  }
  const { domain, path } = splitDomain(name);
  if (!DOMAIN.test(domain)) throw bad();
  const components = path.split('/');
  if (components.some((component) => component.toLowerCase() !== component)) {
    throw new ImageError('bad-reference', `invalid reference format: repository name (${path}) must be lowercase`);
  }
  if (!components.every((component) => PATH_COMPONENT.test(component))) throw bad();
  if (path.length > MAX_NAME_LENGTH || domain.length + 1 + path.length > MAX_NAME_LENGTH) {
    throw new ImageError('bad-reference', `repository name must not be more than ${MAX_NAME_LENGTH} characters`);
  }
  return { kind: 'name', domain, path, tag: tag ?? (digest === null ? 'latest' : null), digest };
}

/**
 * Splits off the first component if it is a host: it has a dot or a port, is `localhost`, or is not
 * in lower case.
 */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first;
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const rest = isDomain ? name.slice(slash + 1) : name;
  if (domain === 'index.docker.io') return { domain: DEFAULT_DOMAIN, path: officialPath(rest) };
  return { domain, path: domain === DEFAULT_DOMAIN ? officialPath(rest) : rest };
}

function officialPath(path: string): string {
  return path.includes('/') ? path : `library/${path}`;
}

/** The short form of a name, without tag: `debian`, `foo/bar`, `registry.example/foo/bar`. */
export function familiarName({ domain, path }: Pick<NameReference, 'domain' | 'path'>): string {
  if (domain !== DEFAULT_DOMAIN) return `${domain}/${path}`;
  return /^library\/([^/]+)$/.exec(path)?.[1] ?? path;
}

/** The short form of a reference, with its tag and digest. */
export function familiarReference(reference: NameReference): string {
  const tag = reference.tag === null ? '' : `:${reference.tag}`;
  const digest = reference.digest === null ? '' : `@${reference.digest}`;
  return `${familiarName(reference)}${tag}${digest}`;
}

/** The full form of a reference: `docker.io/library/debian:12`. */
export function fullReference({ domain, path, tag, digest }: NameReference): string {
  return `${domain}/${path}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`;
}

function bad(): ImageError {
  return new ImageError('bad-reference', 'invalid reference format');
}
